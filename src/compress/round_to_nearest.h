// Round to nearest with a search for the clip range: the plain quantiser, and the baseline of better ones.
#pragma once

#include "base/status.h"
#include "base/thread_pool.h"
#include "compress/quantised.h"
#include "compress/source.h"

namespace minnow::compress {

/// One slab of codes of `bits` (2, 3, 4 or 8), each group of a row on the grid that ClipSearch::plain finds.
/// Errors name the tensor: values that are not finite, or too large for f16 scales.
Result<QuantisedLinear> round_to_nearest(const RowSource& source, uint32_t bits, uint32_t group,
                                         ThreadPool& pool);

}  // namespace minnow::compress
