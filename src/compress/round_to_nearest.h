// Round to nearest with a search for the clip range: the plain quantiser, and the baseline of better ones.
#pragma once

#include "base/status.h"
#include "base/thread_pool.h"
#include "compress/quantised.h"
#include "compress/source.h"

namespace minnow::compress {

/// One slab of `code` (u2, u3, u4 or u8). Each group of a row tries ranges [t min, t max], t from 1 down to 0.5 (2 bits),
/// and keeps the one of least squared error; 8 bits keep the full range around the midpoint. Errors name the tensor:
/// values that are not finite, or too large for f16 scales.
Result<QuantisedLinear> round_to_nearest(const RowSource& source, format::CodeType code, uint32_t group, ThreadPool& pool);

}  // namespace minnow::compress
