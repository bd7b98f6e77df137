// Brings quantised linears into the layouts that kernels read (kernels/common/quantised.h describes them).
#pragma once

#include "base/status.h"
#include "base/thread_pool.h"
#include "compress/quantised.h"
#include "format/metadata.h"
#include "format/writer.h"

namespace minnow::compress {

/// Appends all slabs to the open segment and fills `out.slabs` and `out.layout`.
///   row      an output's slabs lie one behind another, each codes, scales, zeros: a run that can be left out
///   panel, channel   each slab by itself: all codes, then all scales, then all zeros
Status append_quantised(const QuantisedLinear& linear, format::Layout layout, format::Writer& writer, ThreadPool& pool,
                        format::Linear& out);

}  // namespace minnow::compress
