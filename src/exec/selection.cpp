#include "exec/selection.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>

namespace minnow::exec {
namespace {

/// Cells that are looked at together; numbers of centroids are multiples of it.
constexpr size_t kBlock = 16;

/// Of the numbers among n scores: the largest of each block and of all, and about their mean.
struct Spread {
  float high, mean;
};

Spread spread(const float* x, size_t n, float* highest) {
  constexpr size_t kLanes = 4;
  float sum[kBlock] = {};  // one chain of sums would leave the machine waiting
  Spread s{-INFINITY, 0.0f};
  for (size_t i = 0; i < n; i += kBlock) {
    float best[kLanes];
    std::fill_n(best, kLanes, -INFINITY);
    for (size_t j = 0; j < kBlock; ++j) {
      const float v = x[i + j];
      best[j % kLanes] = v > best[j % kLanes] ? v : best[j % kLanes];  // not NaN
      sum[j] += v;
    }
    const float high = std::max(std::max(best[0], best[1]), std::max(best[2], best[3]));
    highest[i / kBlock] = high;
    s.high = std::max(s.high, high);
  }
  for (const float v : sum) s.mean += v;
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

void Wanted::clear(uint32_t bands, size_t centroids) {
  centroids_ = centroids, cells_ = bands * centroids;
  for (uint32_t b = 0; b < bands; ++b) std::fill(std::begin(bits_[b]), std::end(bits_[b]), 0u);
  std::fill_n(quota_, cells_, 0u);
  std::fill_n(taken_, cells_, 0u);
}

void Wanted::take(size_t cell, uint32_t quota) {
  const size_t band = cell / centroids_, centroid = cell % centroids_;
  bits_[band][centroid / 32] |= 1u << (centroid % 32);
  quota_[cell] = std::max(quota_[cell], quota);
}

void Wanted::add(const float* scores, const uint32_t* counts, const HeadBudget& budget, uint64_t* ranks) {
  uint32_t keys = 0;  // of a context, so they fit
  for (size_t i = 0; i < cells_; ++i) keys += scores[i] >= budget.score ? counts[i] : 0;  // NaN is not
  if (keys > budget.most) return take_best(scores, counts, budget.most, ranks);
  if (keys < budget.least) return take_best(scores, counts, budget.least, ranks);
  for (size_t i = 0; i < cells_; ++i) {
    if (scores[i] >= budget.score && counts[i] != 0) take(i, kAll);
  }
}

void Wanted::take_best(const float* scores, const uint32_t* counts, uint32_t most, uint64_t* ranks) {
  // Only few cells are wanted: those well above the mean hold enough keys nearly always.
  float highest[kMostCells / kBlock];
  const Spread s = spread(scores, cells_, highest);
  size_t n = 0;
  uint32_t keys = 0;
  for (const float least : {0.5f * (s.high + s.mean), s.mean}) {
    n = keys = 0;
    for (size_t block = 0; block < cells_ / kBlock; ++block) {
      if (!(highest[block] >= least)) continue;
      for (size_t i = block * kBlock; i < (block + 1) * kBlock; ++i) {
        const bool in = scores[i] >= least && counts[i] != 0;  // NaN is not
        ranks[n] = i;
        n += in;
        keys += in ? counts[i] : 0;
      }
    }
    if (keys >= most) break;
  }
  if (keys < most) {
    n = 0;
    for (size_t i = 0; i < cells_; ++i) {
      if (counts[i] != 0) ranks[n++] = i;
    }
  }
  for (size_t i = 0; i < n; ++i) ranks[i] = rank(scores[ranks[i]], ranks[i]);
  std::sort(ranks, ranks + n, std::greater<>());
  for (size_t i = 0; i < n && most > 0; ++i) {
    const size_t cell = cell_of(ranks[i]);
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
