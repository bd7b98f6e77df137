// Which keys of a KV head its query heads want, decided from the scores of centroids.
#pragma once

#include <cstddef>
#include <cstdint>

#include "model/weights.h"

namespace minnow::exec {

/// The union over the heads of a group. Of a centroid that did not fit a head's budget as a whole, the latest
/// keys are taken.
class Wanted {
 public:
  void clear(size_t centroids);
  /// Adds what a head wants, `most` keys: of the centroids with the largest scores, in that order (lower
  /// numbers first where scores are equal). `counts`: keys of each centroid. `ranks` is scratch, [centroids].
  void add(const float* scores, const uint32_t* counts, uint32_t most, uint64_t* ranks);
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
