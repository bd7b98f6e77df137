// Which keys of a KV head its query heads want, decided from the scores of centroids in bands of distances.
#pragma once

#include <cstddef>
#include <cstdint>

#include "exec/bands.h"
#include "kernels/at_least/at_least.h"
#include "kv/index.h"
#include "model/weights.h"

namespace minnow::exec {

/// What a head takes: of the keys in the order of their cells' scores those that score at least `score`,
/// but no fewer than `least` and no more than `most`.
struct HeadBudget {
  uint32_t least, most;
  float score;
};

/// Ids above it are those of the `most` far keys that lie farthest from their centroids, or of somewhat
/// fewer: levels are taken whole, and the lowest never. `levels`: keys of each level, [kv::kLevels].
uint16_t above_most(const uint32_t* levels, uint64_t most);

static_assert(model::kMostCentroids == 1u << kv::kCentroidBits);

/// What choosing takes for a while: [cells], [cells + kAtLeastSlack].
struct WantedScratch {
  uint64_t* ranks;
  uint32_t* list;
};

/// The union over the heads of a group, of cells: (bands, centroids). Of a cell that did not fit a head's
/// budget as a whole, the latest keys are taken.
class Wanted {
 public:
  Wanted(AtLeastFn at_least, uint32_t bands, size_t centroids, const WantedScratch& scratch);
  /// Adds what a head wants: keys of the cells with the largest scores, in that order (lower numbers first
  /// where scores are equal). `counts`: keys of each cell.
  void add(const float* scores, const uint32_t* counts, const HeadBudget& budget);
  /// A bit for every centroid that keys of the band are taken of; kMostCentroids bits.
  const uint32_t* bits(uint32_t band) const { return bits_[band]; }
  /// Takes keys out of `list` (ascending positions in the band) that are too many of their cell, those with
  /// ids above `above` excepted. Returns how many stay. Once for every band, at the end.
  size_t trim(uint32_t band, const uint16_t* ids, uint16_t above, uint32_t* list, size_t count);
  /// Keys of a cell that are in its band's list; after trim().
  uint32_t taken(size_t cell) const { return taken_[cell]; }

 private:
  static constexpr uint32_t kAll = UINT32_MAX;
  static constexpr size_t kMostCells = size_t{kMostBands} * model::kMostCentroids;
  void take(size_t cell, uint32_t quota);
  /// Cells that scratch_.list begins with, and their keys.
  struct Found {
    size_t cells;
    uint32_t keys;
  };
  Found find(const float* scores, const uint32_t* counts, float least) const;
  Found find_keys(const float* scores, const uint32_t* counts, uint32_t least) const;
  void take_best(const float* scores, const uint32_t* counts, size_t n, uint32_t most);
  alignas(64) uint32_t bits_[kMostBands][model::kMostCentroids / 32];
  uint32_t quota_[kMostCells];  // keys wanted of a cell, kAll: every one
  uint32_t taken_[kMostCells];
  AtLeastFn at_least_;
  WantedScratch scratch_;
  size_t centroids_, cells_;
};

}  // namespace minnow::exec
