// From how few kept rows or channels on it pays to read only those.
//
// A list is read in jumps, a whole matrix as one stream, and machines differ in what jumps cost: a Sapphire
// Rapids gains from a tenth left out on, a Zen 5 from a half (docs/sparsity.md). So the crossing is measured
// where the model runs. Both ways give the same to the bit; only time and the bytes read differ.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/status.h"
#include "base/thread_pool.h"
#include "model/plan.h"

namespace minnow::exec {

/// Shares of kept units up to which listing them takes less time than reading all. The defaults serve models
/// too small to measure.
struct ListingLimits {
  float rows = 0.4375f;     ///< of a portion of `up`
  float channels = 0.625f;  ///< of a piece of a channel-layout linear

  bool rows_worth(size_t kept, size_t all) const {
    return static_cast<float>(kept) <= rows * static_cast<float>(all);
  }
  bool channels_worth(size_t kept, size_t all) const {
    return static_cast<float>(kept) <= channels * static_cast<float>(all);
  }
};

/// Times reading half of a matrix by list against reading one like it whole, for rows and for channels, over
/// layers of the model: some milliseconds. Memory is what a session of one token needs. Matrices below
/// `least_bytes` take so few microseconds that waking threads would be all there is to see: the defaults
/// stand for them. Errors: no_memory.
Result<ListingLimits> measure_listing(const model::Plan& plan, ThreadPool& pool,
                                      uint64_t least_bytes = uint64_t{1} << 20);

}  // namespace minnow::exec
