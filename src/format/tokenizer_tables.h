// The tables of a tokenizer that follow from others: hash tables, and the bytes of tokens that merges
// make. A small vocabulary is stored without them (a third of the bytes) and they are made on loading,
// which takes about a millisecond for 65,536 tokens; a large one stores them and is used as it lies.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace minnow::format {

/// Vocabularies of at most so many tokens are stored compactly.
inline constexpr uint32_t kCompactVocabulary = 65536;

struct TokenizerTables {
  std::string token_bytes;
  std::vector<uint32_t> token_offsets, token_slots, merge_pairs, merge_results, merge_slots;
};

/// Open addressing over the tokens for which `findable` is not 0; of equal ones the last is found.
std::vector<uint32_t> make_token_slots(std::string_view bytes, std::span<const uint32_t> offsets,
                                       const std::vector<uint8_t>& findable);
/// Open addressing over pairs (left, right, left, right, ...); of equal ones the last is found.
std::vector<uint32_t> make_merge_slots(std::span<const uint32_t> pairs);

/// What a compact tokenizer stores: `lengths` of the tokens' own bytes, 0 where a merge makes them.
struct CompactTokens {
  std::string bytes;
  std::vector<uint8_t> lengths;
};
/// Leaves out the bytes that expand_tokens() will find again. False: a token is too long for the form.
bool compact_tokens(std::string_view bytes, std::span<const uint32_t> offsets,
                    std::span<const uint32_t> pairs, std::span<const uint32_t> results, CompactTokens& out);
/// The inverse; every id must be below the number of lengths. Errors: corrupt (lengths that do not add up,
/// tokens that grow beyond reason).
Status expand_tokens(std::string_view bytes, std::span<const uint8_t> lengths,
                     std::span<const uint32_t> pairs, std::span<const uint32_t> results,
                     std::string& token_bytes, std::vector<uint32_t>& offsets);

}  // namespace minnow::format
