// Causal attention of a chunk of queries over the KV rows of one layer.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "exec/workspace.h"
#include "kv/cache.h"
#include "model/plan.h"

namespace minnow::exec {

/// Rotates q and k of `m` tokens by their positions (tables already in the workspace), spreads heads to
/// their padded size and writes K and V rows [position, position + m) of `layer`.
void rotate_and_store(const model::Plan& plan, const Workspace& ws, ThreadPool& pool, kv::Cache& cache,
                      uint32_t layer, uint32_t position, size_t m);

/// The positions of few tokens are cut into pieces, so that threads have work where KV heads are few: at
/// most so many pieces times tokens for a context. The cut depends on the position and on m only; results do
/// not change with the number of threads.
size_t most_piece_tokens(uint32_t context);

/// ws.attn (m, heads * head_dim) = softmax(scale * q k^T) v over the rows each token may see.
void attend(const model::Plan& plan, const Workspace& ws, ThreadPool& pool, const kv::Cache& cache,
            uint32_t layer, uint32_t position, size_t m);

/// Fills the cosine and sine tables of every rope for positions [position, position + m). `context` is
/// the session's: it decides between the frequencies of a long-context rope.
void fill_rope_tables(const model::Plan& plan, const Workspace& ws, uint32_t context, uint32_t position,
                      size_t m);

}  // namespace minnow::exec
