// Tokens that are found in the text before anything else is done to it: specials and user-defined ones.
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "format/tokenizer_types.h"

namespace minnow::text {

/// A part of a text: an added token, or plain text (id kNoToken).
struct Section {
  size_t begin = 0, end = 0;
  uint32_t id = format::kNoToken;
};

/// Finds leftmost, then longest matches by narrowing a sorted list; builds no automaton. Thread-safe.
class AddedTokens {
 public:
  using Token = format::AddedToken<std::string_view>;
  AddedTokens() = default;
  /// `tokens` are sorted by match and outlive this object. Two searches exist: tokens matched in the
  /// text as given, and those matched in normalised text.
  explicit AddedTokens(std::span<const Token> tokens);

  void split(std::string_view text, bool normalized, bool parse_special, std::vector<Section>& out) const;
  bool is_special(uint32_t id) const;

 private:
  struct Index {
    std::vector<const Token*> sorted;
    std::bitset<256> first;
  };
  static const Token* longest_at(const Index& index, std::string_view text);

  Index raw_, normalized_;
  std::vector<uint32_t> special_;  ///< sorted
};

}  // namespace minnow::text
