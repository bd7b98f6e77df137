// Byte-pair encoding of one piece: by merge rank (Hugging Face) or by token score (SentencePiece as
// llama.cpp does it). Short pieces are scanned; long ones use a heap, O(n log n).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "format/tokenizer_view.h"

namespace minnow::text {

/// Working memory of one caller, reused from piece to piece.
class Bpe {
 public:
  explicit Bpe(const format::TokenizerView& view) : view_(view) {}

  /// Appends the ids of `piece`. Characters that are no token, have no byte tokens and for which the
  /// model has no unknown token vanish, as they do in Hugging Face's library.
  void encode(std::string_view piece, std::vector<int32_t>& out);

 private:
  struct Symbol {
    uint32_t id = 0;
    uint32_t begin = 0, length = 0;  ///< bytes of the piece; length 0 once merged away
    int32_t previous = -1, next = -1;
    uint32_t rank = format::kNoToken;  ///< of the merge with the next symbol
  };

  void encode_ranks(std::string_view piece, std::vector<int32_t>& out);
  void encode_scores(std::string_view piece, std::vector<int32_t>& out);
  void start_symbols(std::string_view piece);
  void add_symbol(uint32_t id) { symbols_.push_back({.id = id, .length = 1}); }
  void merge_short();
  void merge_long();
  void push_rank(int32_t position);
  void push_score(std::string_view piece, int32_t position);
  void link();
  int32_t absorb_next(int32_t position);

  struct Candidate {
    float score;
    int32_t position;
    uint32_t length;
  };

  const format::TokenizerView& view_;
  std::vector<Symbol> symbols_;
  std::vector<uint64_t> heap_;  ///< rank << 32 | position, smallest first
  std::vector<Candidate> candidates_;
};

}  // namespace minnow::text
