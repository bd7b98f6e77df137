// Imports the tokenizer of a Hugging Face model directory.
#pragma once

#include <string>

#include "base/status.h"
#include "compress/tokenizer_import.h"

namespace minnow::compress {

/// Reads `dir`/tokenizer.json and, where they exist, tokenizer_config.json, special_tokens_map.json,
/// generation_config.json, config.json and chat_template.jinja.
/// Errors: not_found, corrupt, unsupported (a model, normalizer, ... of a type that minnow lacks, by name).
Result<ImportedTokenizer> import_tokenizer_json(const std::string& dir);

/// The same from a single tokenizer.json, without what the other files say.
Result<ImportedTokenizer> import_tokenizer_json_file(const std::string& path);

}  // namespace minnow::compress
