// Imports the tokenizer that a GGUF file carries.
#pragma once

#include "base/status.h"
#include "compress/gguf_reader.h"
#include "compress/tokenizer_import.h"

namespace minnow::compress {

/// tokenizer.ggml.model "llama" (SentencePiece by scores) and "gpt2" (byte-level BPE, with a
/// tokenizer.ggml.pre that minnow knows). Errors: unsupported (by name), corrupt, not_found.
Result<ImportedTokenizer> import_tokenizer_gguf(const GgufReader& gguf);

}  // namespace minnow::compress
