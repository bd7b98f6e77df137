// Writes a tokenizer segment: what importers fill in, and the bytes that TokenizerView opens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "format/tokenizer_types.h"

namespace minnow::format {

/// A tokenizer with its parts owned. Token strings lie end to end in token_bytes.
struct TokenizerData {
  TokenizerKind kind = TokenizerKind::bpe_ranks;
  bool byte_level = false;
  bool byte_fallback = false;
  bool ignore_merges = false;
  bool fuse_unk = false;

  std::string token_bytes;
  std::vector<uint32_t> token_offsets = {0};
  std::vector<float> token_scores;
  /// Per token: 1 where its bytes lead to it (vocabulary of the model), 0 where only its id does.
  std::vector<uint8_t> token_findable;
  std::vector<Merge> merges;  ///< by rank
  std::vector<uint32_t> byte_ids;

  std::vector<NormalizerStep<std::string>> normalizer;
  std::vector<PreTokenizerStep<std::string>> pre_tokenizer;
  std::vector<DecoderStep<std::string>> decoder;
  std::vector<AddedToken<std::string>> added_tokens;  ///< in any order

  std::vector<uint32_t> prefix_ids, suffix_ids;
  int32_t bos_id = -1, eos_id = -1, pad_id = -1, unk_id = -1;
  std::vector<uint32_t> end_ids;
  bool add_bos = false;
  ChatFormat<std::string> chat;

  uint32_t size() const { return static_cast<uint32_t>(token_offsets.size() - 1); }
  std::string_view token(uint32_t id) const {
    return std::string_view(token_bytes).substr(token_offsets[id], token_offsets[id + 1] - token_offsets[id]);
  }
  void add_token(std::string_view bytes, bool findable) {
    token_bytes.append(bytes);
    token_offsets.push_back(static_cast<uint32_t>(token_bytes.size()));
    token_findable.push_back(findable ? 1 : 0);
  }
};

/// Builds the hash tables and serialises. The result opens as a TokenizerView (checked here).
Result<std::vector<std::byte>> build_tokenizer(const TokenizerData& data);

}  // namespace minnow::format
