// A long context without a long prefill: the context that is there, over and over.
#pragma once

#include "base/thread_pool.h"
#include "exec/decoder.h"
#include "model/plan.h"

namespace minnow::bench {

/// Appends copies of all positions up to `positions`: values and centroids as they are, keys turned on to
/// where they come to lie, as if each had come again.
void lengthen(exec::Decoder& decoder, const model::Plan& plan, ThreadPool& pool, uint32_t positions);

}  // namespace minnow::bench
