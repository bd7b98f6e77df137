#include "exec/selection.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "kernels/score/score.h"

namespace minnow::exec {
namespace {

/// Of n scores, a multiple of kLanes: the largest, NaNs aside, and about the mean.
struct Spread {
  float high, mean;
};

Spread spread(const float* x, size_t n) {
  constexpr size_t kLanes = 16;  // one chain of sums would leave the machine waiting
  static_assert(kScorePanel % kLanes == 0, "numbers of centroids are multiples of it");
  float high[kLanes], sum[kLanes] = {};
  std::fill_n(high, kLanes, -INFINITY);
  for (size_t i = 0; i < n; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) {
      high[j] = x[i + j] > high[j] ? x[i + j] : high[j];
      sum[j] += x[i + j];
    }
  }
  Spread s{-INFINITY, 0.0f};
  for (size_t j = 0; j < kLanes; ++j) s.high = std::max(s.high, high[j]), s.mean += sum[j];
  s.mean /= static_cast<float>(n);
  return s;
}

/// Sorts as scores do, what is no number before all others, and of equal scores higher numbers first.
uint64_t rank(float score, size_t i) {
  const auto bits = std::bit_cast<uint32_t>(score);
  const uint32_t ordered = std::isnan(score) ? 0 : bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
  return uint64_t{ordered} << 32 | (0xffffffffu - i);
}
size_t cell_of(uint64_t rank) {
  return 0xffffffffu - (rank & 0xffffffffu);
}

}  // namespace

uint16_t above_most(const uint32_t* levels, uint64_t most) {
  uint32_t level = kv::kLevels;
  for (uint64_t keys = 0; level > 1 && (keys += levels[level - 1]) <= most;) --level;
  return static_cast<uint16_t>((level << kv::kCentroidBits) - 1);
}

Wanted::Wanted(AtLeastFn at_least, uint32_t bands, size_t centroids, const WantedScratch& scratch)
    : at_least_(at_least), scratch_(scratch), centroids_(centroids), cells_(bands * centroids) {
  for (uint32_t b = 0; b < bands; ++b) std::fill(std::begin(bits_[b]), std::end(bits_[b]), 0u);
  std::fill_n(quota_, cells_, 0u);
  std::fill_n(taken_, cells_, 0u);
}

void Wanted::take(size_t cell, uint32_t quota) {
  const size_t band = cell / centroids_, centroid = cell % centroids_;
  bits_[band][centroid / 32] |= 1u << (centroid % 32);
  quota_[cell] = std::max(quota_[cell], quota);
}

void Wanted::add(const float* scores, const uint32_t* counts, const HeadBudget& budget) {
  Found enough = find(scores, counts, budget.score);
  if (enough.keys > budget.most) return take_best(scores, counts, enough.cells, budget.most);
  if (enough.keys < budget.least) {
    enough = find_keys(scores, counts, budget.least);
    return take_best(scores, counts, enough.cells, budget.least);
  }
  for (size_t i = 0; i < enough.cells; ++i) {
    if (counts[scratch_.list[i]] != 0) take(scratch_.list[i], kAll);
  }
}

/// Lists the cells that score at least so much; a score that is no number does not.
Wanted::Found Wanted::find(const float* scores, const uint32_t* counts, float least) const {
  Found found{};
  const AtLeastArgs args{scores, cells_, least, scratch_.list, &found.cells};
  at_least_(&args);
  for (size_t i = 0; i < found.cells; ++i) found.keys += counts[scratch_.list[i]];  // of a context: they fit
  return found;
}

/// Lists cells with the largest scores that hold at least so many keys, or all cells.
Wanted::Found Wanted::find_keys(const float* scores, const uint32_t* counts, uint32_t least) const {
  // Only few are wanted: those well above the mean hold enough keys nearly always.
  const Spread s = spread(scores, cells_);
  for (const float part : {0.6f, 0.4f, 0.0f}) {
    const Found found = find(scores, counts, s.mean + part * (s.high - s.mean));
    if (found.keys >= least) return found;
  }
  std::iota(scratch_.list, scratch_.list + cells_, 0u);
  return {cells_, least};
}

/// Of the first `n` cells listed those with the largest scores, until there are `most` keys.
void Wanted::take_best(const float* scores, const uint32_t* counts, size_t n, uint32_t most) {
  uint64_t *ranks = scratch_.ranks, *end = ranks;
  for (size_t i = 0; i < n; ++i) {
    const uint32_t cell = scratch_.list[i];
    *end = rank(scores[cell], cell);
    end += counts[cell] != 0;
  }
  std::make_heap(ranks, end);
  while (most > 0 && end != ranks) {
    std::pop_heap(ranks, end--);
    const size_t cell = cell_of(*end);
    const uint32_t has = counts[cell];
    take(cell, has <= most ? kAll : most);
    most -= std::min(has, most);
  }
}

size_t Wanted::trim(uint32_t band, const uint16_t* ids, uint16_t above, uint32_t* list, size_t count) {
  size_t to = count;
  for (size_t i = count; i-- > 0;) {  // the latest first
    const uint16_t id = ids[list[i]];
    const size_t cell = band * centroids_ + kv::centroid_of(id);
    if (id <= above) {
      uint32_t& left = quota_[cell];
      if (left == 0) continue;
      if (left != kAll) --left;
    }
    ++taken_[cell];
    list[--to] = list[i];
  }
  std::copy(list + to, list + count, list);
  return count - to;
}

}  // namespace minnow::exec
