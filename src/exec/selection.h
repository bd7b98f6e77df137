// Which keys of a KV head its query heads want, decided from the scores of centroids.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kv/index.h"
#include "model/weights.h"

namespace minnow::exec {

/// What a head takes: of the keys in the order of their centroids' scores those that score at least `score`,
/// but no fewer than `least` and no more than `most`.
struct HeadBudget {
  uint32_t least, most;
  float score;
};

/// Ids above it are those of the `most` far keys that lie farthest from their centroids, or of somewhat
/// fewer: levels are taken whole, and the lowest never. `levels`: keys of each level, [kv::kLevels].
uint16_t above_most(const uint32_t* levels, uint32_t most);

static_assert(model::kMostCentroids == 1u << kv::kCentroidBits);

/// The union over the heads of a group. Of a centroid that did not fit a head's budget as a whole, the latest
/// keys are taken.
class Wanted {
 public:
  void clear(size_t centroids);
  /// Adds what a head wants: keys of the centroids with the largest scores, in that order (lower numbers
  /// first where scores are equal). `counts`: keys of each centroid. `ranks` is scratch, [centroids].
  void add(const float* scores, const uint32_t* counts, const HeadBudget& budget, uint64_t* ranks);
  /// A bit for every centroid that keys are taken of; kMostCentroids bits.
  const uint32_t* bits() const { return bits_; }
  /// Takes keys out of `list` (ascending positions) that are too many of their centroid, those with ids above
  /// `above` excepted. Returns how many stay. Once, at the end.
  size_t trim(const uint16_t* ids, uint16_t above, uint32_t* list, size_t count);
  /// Keys of a centroid that are in the list; after trim().
  uint32_t taken(size_t centroid) const { return taken_[centroid]; }

 private:
  static constexpr uint32_t kAll = UINT32_MAX;
  void take(size_t centroid, uint32_t quota);
  void take_best(const float* scores, const uint32_t* counts, uint32_t most, uint64_t* ranks);
  alignas(64) uint32_t bits_[model::kMostCentroids / 32];
  uint32_t quota_[model::kMostCentroids];  // keys wanted of a centroid, kAll: every one
  uint32_t taken_[model::kMostCentroids];
  size_t centroids_ = 0;
};

}  // namespace minnow::exec
