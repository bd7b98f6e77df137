#include "exec/selection.h"

#include <algorithm>
#include <cmath>

namespace minnow::exec {
namespace {

/// Scores are told apart by so many steps first; only those of one step are sorted.
constexpr size_t kSteps = 256;

/// Of a head's centroids: where they lie between the best and the worst.
struct Steps {
  float width = 0.0f;                 // of a step, in scores
  uint32_t keys[kSteps] = {};         // of the centroids in a step
  uint8_t of[model::kMostCentroids];  // of a centroid
};

/// The largest of some lanes of numbers, or with a sign of -1 the negative of the smallest.
float extreme(const float* x, size_t n, float sign) {
  constexpr size_t kLanes = 16;  // one chain of comparisons would leave the machine waiting
  float best[kLanes];
  std::fill_n(best, kLanes, -INFINITY);
  for (size_t i = 0; i < n; i += kLanes) {  // numbers of centroids are multiples of 16
    for (size_t j = 0; j < kLanes; ++j) {
      const float v = sign * x[i + j];
      best[j] = v > best[j] ? v : best[j];  // not NaN
    }
  }
  return *std::max_element(best, best + kLanes);
}

/// Centroids without keys may lie anywhere.
Steps spread(const float* scores, const uint32_t* counts, size_t n) {
  Steps s;
  const float high = extreme(scores, n, 1.0f), low = -extreme(scores, n, -1.0f);
  s.width = high > low ? (high - low) / static_cast<float>(kSteps - 1) : 0.0f;
  const float per_step = s.width > 0.0f ? 1.0f / s.width : 0.0f;
  constexpr auto kLast = static_cast<float>(kSteps - 1);
  for (size_t i = 0; i < n; ++i) {
    const float step = (high - scores[i]) * per_step;
    s.of[i] = static_cast<uint8_t>(step < kLast ? step : kLast);  // NaN: the last
  }
  for (size_t i = 0; i < n; ++i) s.keys[s.of[i]] += counts[i];
  return s;
}

/// How many keys, step by step from the best, cover the wanted share of the estimated attention.
uint32_t keys_for_mass(const Steps& s, const HeadBudget& budget) {
  const double ratio = std::exp2(-double{s.width} * double{budget.unit});
  double total = 0.0, weight = 1.0;
  for (size_t i = 0; i < kSteps; ++i, weight *= ratio) total += weight * s.keys[i];
  double sum = 0.0;
  uint32_t keys = 0;
  weight = 1.0;
  for (size_t i = 0; i < kSteps && sum < double{budget.mass} * total; ++i, weight *= ratio) {
    sum += weight * s.keys[i];
    keys += s.keys[i];
  }
  return keys;
}

}  // namespace

void Wanted::clear(size_t centroids) {
  centroids_ = centroids;
  std::fill(std::begin(bits_), std::end(bits_), 0u);
  std::fill_n(quota_, centroids, 0u);
}

void Wanted::add(const float* scores, const uint32_t* counts, const HeadBudget& budget, uint32_t* order) {
  const Steps steps = spread(scores, counts, centroids_);
  uint32_t left = budget.most;
  if (budget.mass < 1.0f) left = std::clamp(keys_for_mass(steps, budget), std::min(budget.least, left), left);
  // Steps that fit as a whole, and the first that does not.
  size_t whole = 0;
  uint32_t before = 0;
  while (whole < kSteps && before + steps.keys[whole] <= left) before += steps.keys[whole++];
  size_t last = 0;
  const auto take = [&](size_t i, uint32_t keys) {
    bits_[i / 32] |= 1u << (i % 32);
    quota_[i] = std::max(quota_[i], keys);
  };
  for (size_t i = 0; i < centroids_; ++i) {
    if (counts[i] == 0) continue;
    const size_t step = steps.of[i];
    if (step < whole) take(i, kAll);
    if (step == whole) order[last++] = static_cast<uint32_t>(i);
  }
  left -= before;
  const auto rank = [&](uint32_t i) { return std::isnan(scores[i]) ? -INFINITY : scores[i]; };
  std::sort(order, order + last,
            [&](uint32_t a, uint32_t b) { return rank(a) != rank(b) ? rank(a) > rank(b) : a < b; });
  for (size_t i = 0; i < last && left > 0; ++i) {
    const uint32_t keys = counts[order[i]];
    take(order[i], keys <= left ? kAll : left);
    left -= std::min(keys, left);
  }
}

size_t Wanted::trim(const uint16_t* ids, uint32_t* list, size_t count) {
  size_t to = count;
  for (size_t i = count; i-- > 0;) {  // the latest first
    uint32_t& left = quota_[ids[list[i]]];
    if (left == 0) continue;
    if (left != kAll) --left;
    list[--to] = list[i];
  }
  std::copy(list + to, list + count, list);
  return count - to;
}

}  // namespace minnow::exec
