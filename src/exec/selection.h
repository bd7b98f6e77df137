// Which keys of a KV head its query heads want, decided from the scores of centroids.
#pragma once

#include <cstddef>
#include <cstdint>

#include "model/weights.h"

namespace minnow::exec {

/// What one query head may take of the far keys.
struct HeadBudget {
  uint32_t most = 0;   ///< keys
  uint32_t least = 0;  ///< keys, where `mass` would do with fewer
  /// Stop where so much of the estimated attention is covered; 1: always take the most.
  float mass = 1.0f;
  float unit = 0.0f;  ///< from scores to exponents of 2
};

/// The union over the heads of a group. Of a centroid that did not fit a head's budget as a whole, the latest
/// keys are taken.
class Wanted {
 public:
  void clear(size_t centroids);
  /// Adds what a head wants: keys of the centroids with the largest scores, in that order (lower numbers
  /// first where scores are equal). `counts`: keys of each centroid. `order` is scratch, [centroids].
  void add(const float* scores, const uint32_t* counts, const HeadBudget& budget, uint32_t* order);
  /// A bit for every centroid that keys are taken of; kMostCentroids bits.
  const uint32_t* bits() const { return bits_; }
  /// Keys of a centroid that has `count` that are not taken; before trim().
  uint32_t left(size_t centroid, uint32_t count) const {
    return quota_[centroid] >= count ? 0 : count - quota_[centroid];
  }
  /// Takes keys out of `list` (ascending positions) that are too many of their centroid. Returns how many
  /// stay. Once, at the end.
  size_t trim(const uint16_t* ids, uint32_t* list, size_t count);

 private:
  static constexpr uint32_t kAll = UINT32_MAX;
  alignas(64) uint32_t bits_[model::kMostCentroids / 32];
  uint32_t quota_[model::kMostCentroids];  // keys wanted of a centroid, kAll: every one
  size_t centroids_ = 0;
};

}  // namespace minnow::exec
