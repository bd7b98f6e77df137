// What the importers of tokenizers (tokenizer.json, GGUF) share.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "format/tokenizer_builder.h"

namespace minnow::compress {

struct ImportedTokenizer {
  format::TokenizerData data;
  std::vector<std::string> warnings;  ///< for the user; nothing here stops the import
};

/// Fills AddedToken::match by running the normaliser over the tokens that ask for it.
Status normalise_added_tokens(format::TokenizerData& data);

/// Sets data.chat from a template, and end_ids from EOS, the format's stop tokens and `extra`.
void finish_chat(std::string_view template_text, ImportedTokenizer& imported);

/// Adds an id to end_ids once; reports one that is no token.
void add_end_id(int64_t id, std::string_view from, ImportedTokenizer& imported);

/// The text of a token that data.bos_id and the like name; empty for -1.
std::string token_content(const format::TokenizerData& data, int32_t id);

/// Ids of the 256 bytes: byte-level ones from the vocabulary, else from tokens like <0x0A>.
void find_byte_ids(format::TokenizerData& data);

}  // namespace minnow::compress
