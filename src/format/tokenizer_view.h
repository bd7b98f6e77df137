// A stored tokenizer, opened for use: spans into the mapped bytes, all of them checked here once.
//
// Goals: open() accepts only bytes with which every later look-up is memory-safe and bounded; for a
// large vocabulary it builds no table. Non-goal: proving that the tokenizer is a sensible one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "format/tokenizer_tables.h"
#include "format/tokenizer_types.h"

namespace minnow::format {

/// Points into the bytes given to open(), which must outlive it. Copyable, immutable, thread-safe.
class TokenizerView {
 public:
  TokenizerView() = default;

  /// Errors: corrupt (with the field), unsupported (an enum value of a newer minnow).
  /// The bytes must be 8-byte aligned, as segments of a .mnw file are.
  static Result<TokenizerView> open(std::span<const std::byte> bytes);

  uint32_t size() const { return static_cast<uint32_t>(token_offsets.size() - 1); }
  /// The token as stored: real bytes for byte-level tokenizers, else the text of the vocabulary.
  std::string_view token(uint32_t id) const {
    return token_bytes.substr(token_offsets[id], token_offsets[id + 1] - token_offsets[id]);
  }
  /// kNoToken when no token of the model's vocabulary has these bytes.
  uint32_t find_token(std::string_view bytes) const;
  /// The rank of the merge of two tokens, or kNoToken.
  uint32_t find_merge(uint32_t left, uint32_t right) const;

  TokenizerKind kind = TokenizerKind::bpe_ranks;
  bool byte_level = false;
  bool byte_fallback = false;
  bool ignore_merges = false;
  bool fuse_unk = false;

  std::string_view token_bytes;
  std::span<const uint32_t> token_offsets;
  std::span<const float> token_scores;
  std::span<const uint32_t> token_slots;
  std::span<const uint32_t> merge_pairs;
  std::span<const uint32_t> merge_results;
  std::span<const uint32_t> merge_slots;
  std::span<const uint32_t> byte_ids;  ///< 256 of them, or none

  std::vector<NormalizerStep<std::string_view>> normalizer;
  std::vector<PreTokenizerStep<std::string_view>> pre_tokenizer;
  std::vector<DecoderStep<std::string_view>> decoder;
  std::vector<AddedToken<std::string_view>> added_tokens;  ///< sorted by `match`

  std::span<const uint32_t> prefix_ids, suffix_ids;
  int32_t bos_id = -1, eos_id = -1, pad_id = -1, unk_id = -1;
  std::span<const uint32_t> end_ids;
  bool add_bos = false;
  ChatFormat<std::string_view> chat;

  std::shared_ptr<const TokenizerTables> tables;  ///< what the spans point into where the file is compact
};

}  // namespace minnow::format
