// How the retrieval index comes about: every key gets the number of its nearest centroid when it is written,
// and keys that leave the window of what is attended to anyway enter the counts and means of theirs.
//
// Results do not depend on how many keys come at a time, nor on the number of threads.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "exec/attention.h"
#include "exec/workspace.h"
#include "kv/cache.h"
#include "kv/index.h"
#include "model/plan.h"

namespace minnow::exec {

/// Of an index for contexts of so many positions.
kv::IndexShape index_shape(const model::Plan& plan, uint32_t context);

/// A thread's scratch.
size_t key_index_scratch_bytes(const model::Plan& plan);

/// Ids of the chunk's keys, from ws.far_k.
void index_keys(const model::Plan& plan, const Workspace& ws, ThreadPool& pool, kv::Index& index,
                uint32_t layer, const Chunk& chunk);

/// Brings the counts and means of all layers to positions [first, end), of which none or the first so many
/// are in them. Uses the rope tables, which hold nothing of use afterwards.
void count_far_keys(const model::Plan& plan, const Workspace& ws, ThreadPool& pool, const kv::Cache& cache,
                    kv::Index& index, uint32_t first, uint32_t end);

}  // namespace minnow::exec
