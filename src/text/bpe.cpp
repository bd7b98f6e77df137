#include "text/bpe.h"

#include <algorithm>
#include <functional>

#include "text/utf8.h"

namespace minnow::text {
namespace {

using format::kNoToken;

// Up to here moving the tail of an array beats a heap.
constexpr size_t kShortPiece = 48;

}  // namespace

void Bpe::encode(std::string_view piece, std::vector<int32_t>& out) {
  if (piece.empty()) return;
  if (view_.kind == format::TokenizerKind::spm_scores) {
    encode_scores(piece, out);
  } else {
    encode_ranks(piece, out);
  }
}

void Bpe::start_symbols(std::string_view piece) {
  symbols_.clear();
  uint32_t unknown = kNoToken;
  for (size_t i = 0; i < piece.size();) {
    const size_t length = view_.byte_level ? 1 : std::min(utf8_length(piece[i]), piece.size() - i);
    const std::string_view one = piece.substr(i, length);
    i += length;
    const uint32_t id =
        view_.byte_level ? view_.byte_ids[static_cast<uint8_t>(one[0])] : view_.find_token(one);
    if (id != kNoToken) {
      if (unknown != kNoToken) add_symbol(unknown);
      unknown = kNoToken;
      add_symbol(id);
      continue;
    }
    if (view_.byte_fallback && std::all_of(one.begin(), one.end(), [&](char b) {
          return view_.byte_ids[static_cast<uint8_t>(b)] != kNoToken;
        })) {
      // A pending unknown stays pending here: so does Hugging Face's library order them.
      for (const char b : one) add_symbol(view_.byte_ids[static_cast<uint8_t>(b)]);
      continue;
    }
    if (view_.unk_id < 0) continue;
    if (unknown != kNoToken && !view_.fuse_unk) add_symbol(unknown);
    unknown = static_cast<uint32_t>(view_.unk_id);
  }
  if (unknown != kNoToken) add_symbol(unknown);
}

void Bpe::encode_ranks(std::string_view piece, std::vector<int32_t>& out) {
  if (view_.ignore_merges) {
    const uint32_t id = view_.find_token(piece);
    if (id != kNoToken) {
      out.push_back(static_cast<int32_t>(id));
      return;
    }
  }
  start_symbols(piece);
  if (symbols_.size() <= kShortPiece) {
    merge_short();
  } else {
    merge_long();
  }
  for (const Symbol& s : symbols_) {
    if (s.length != 0) out.push_back(static_cast<int32_t>(s.id));
  }
}

void Bpe::merge_short() {
  const auto rank_at = [&](size_t i) {
    return i + 1 < symbols_.size() ? view_.find_merge(symbols_[i].id, symbols_[i + 1].id) : kNoToken;
  };
  for (size_t i = 0; i < symbols_.size(); ++i) symbols_[i].rank = rank_at(i);
  while (symbols_.size() > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < symbols_.size(); ++i) {
      if (symbols_[i].rank < symbols_[best].rank) best = i;
    }
    const uint32_t rank = symbols_[best].rank;
    if (rank == kNoToken) break;
    symbols_[best].id = view_.merge_results[rank];
    symbols_.erase(symbols_.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    symbols_[best].rank = rank_at(best);
    if (best > 0) symbols_[best - 1].rank = rank_at(best - 1);
  }
}

void Bpe::link() {
  const auto n = static_cast<int32_t>(symbols_.size());
  for (int32_t i = 0; i < n; ++i) {
    symbols_[i].previous = i - 1;
    symbols_[i].next = i + 1 < n ? i + 1 : -1;
  }
}

/// Joins the next symbol to this one; returns the one before, or -1.
int32_t Bpe::absorb_next(int32_t position) {
  Symbol& left = symbols_[position];
  Symbol& right = symbols_[left.next];
  left.length += right.length;
  left.next = right.next;
  right.length = 0;
  if (left.next >= 0) symbols_[left.next].previous = position;
  return left.previous;
}

void Bpe::push_rank(int32_t position) {
  Symbol& s = symbols_[position];
  s.rank = s.next >= 0 ? view_.find_merge(s.id, symbols_[s.next].id) : kNoToken;
  if (s.rank == kNoToken) return;
  heap_.push_back(static_cast<uint64_t>(s.rank) << 32 | static_cast<uint32_t>(position));
  std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
}

void Bpe::merge_long() {
  link();
  heap_.clear();
  for (size_t i = 0; i < symbols_.size(); ++i) push_rank(static_cast<int32_t>(i));
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
    const auto rank = static_cast<uint32_t>(heap_.back() >> 32);
    const auto position = static_cast<int32_t>(heap_.back() & 0xFFFFFFFFu);
    heap_.pop_back();
    Symbol& s = symbols_[position];
    // A stale entry: since it was pushed one of its two symbols has grown or gone.
    if (s.length == 0 || s.next < 0 || s.rank != rank) continue;
    s.id = view_.merge_results[rank];
    const int32_t before = absorb_next(position);
    push_rank(position);
    if (before >= 0) push_rank(before);
  }
}

void Bpe::push_score(std::string_view piece, int32_t position) {
  const Symbol& s = symbols_[position];
  if (s.next < 0) return;
  const uint32_t length = s.length + symbols_[s.next].length;
  const uint32_t id = view_.find_token(piece.substr(s.begin, length));
  if (id == kNoToken) return;
  candidates_.push_back({view_.token_scores[id], position, length});
  std::push_heap(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) {
    return a.score != b.score ? a.score < b.score : a.position > b.position;
  });
}

void Bpe::encode_scores(std::string_view piece, std::vector<int32_t>& out) {
  symbols_.clear();
  candidates_.clear();
  for (size_t i = 0; i < piece.size();) {
    const size_t length = std::min(utf8_length(piece[i]), piece.size() - i);
    symbols_.push_back({.begin = static_cast<uint32_t>(i), .length = static_cast<uint32_t>(length)});
    i += length;
  }
  link();
  for (size_t i = 0; i < symbols_.size(); ++i) push_score(piece, static_cast<int32_t>(i));
  while (!candidates_.empty()) {
    std::pop_heap(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) {
      return a.score != b.score ? a.score < b.score : a.position > b.position;
    });
    const Candidate c = candidates_.back();
    candidates_.pop_back();
    const Symbol& s = symbols_[c.position];
    if (s.length == 0 || s.next < 0 || s.length + symbols_[s.next].length != c.length) continue;
    const int32_t before = absorb_next(c.position);
    push_score(piece, c.position);
    if (before >= 0) push_score(piece, before);
  }
  for (const Symbol& s : symbols_) {
    if (s.length == 0) continue;
    const std::string_view bytes = piece.substr(s.begin, s.length);
    const uint32_t id = view_.find_token(bytes);
    if (id != kNoToken) {
      out.push_back(static_cast<int32_t>(id));
      continue;
    }
    for (const char b : bytes) {
      const uint32_t byte_id = view_.byte_ids.empty() ? kNoToken : view_.byte_ids[static_cast<uint8_t>(b)];
      if (byte_id != kNoToken) {
        out.push_back(static_cast<int32_t>(byte_id));
      } else if (view_.unk_id >= 0) {
        out.push_back(view_.unk_id);
      }
    }
  }
}

}  // namespace minnow::text
