// Causal attention of a chunk of queries over the KV rows of one layer.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "exec/workspace.h"
#include "kv/cache.h"
#include "model/plan.h"

namespace minnow::exec {

/// The tokens of a forward pass: the next `m` of one sequence, or the next one of each of `m` sequences that
/// are equally long. These have layers of their own in the cache, those of a model's layer side by side.
struct Chunk {
  uint32_t position;
  size_t m;
  bool lockstep = false;
  uint32_t position_of(size_t t) const { return lockstep ? position : position + static_cast<uint32_t>(t); }
  uint32_t cache_layer(uint32_t layer, size_t t) const {
    return lockstep ? layer * static_cast<uint32_t>(m) + static_cast<uint32_t>(t) : layer;
  }
};

/// What retrieval needs beside q and k: keys without rotation in ws.far_k, queries as the keys of the first
/// `bands` bands see them in ws.far_q.
struct FarRows {
  bool keys = false;
  uint32_t bands = 0;
};

/// Rotates q and k of `m` tokens by their positions (tables already in the workspace), spreads heads to
/// their padded size and writes their K and V rows of `layer`.
void rotate_and_store(const model::Plan& plan, const Workspace& ws, ThreadPool& pool, kv::Cache& cache,
                      uint32_t layer, const Chunk& chunk, FarRows far);

/// The kernel for the cache's type.
const AttentionKernel* attention_kernel(const model::Plan& plan, const kv::Cache& cache);
/// a.k, a.v and what belongs to them.
void take_rows(const kv::RowView& rows, AttentionArgs& a);
/// Heads that lie `padded` apart, brought together; zeros behind them.
void pack_heads(float* row, size_t heads, size_t dim, size_t padded);

/// The positions of few tokens are cut into pieces, so that threads have work where KV heads are few: at
/// most so many pieces times tokens for a context. The cut depends on the position and on m only; results do
/// not change with the number of threads.
size_t most_piece_tokens(uint32_t context);

/// ws.attn (m, heads * head_dim) = softmax(scale * q k^T) v over the rows each token may see.
void attend(const model::Plan& plan, const Workspace& ws, ThreadPool& pool, const kv::Cache& cache,
            uint32_t layer, const Chunk& chunk);

/// Fills the cosine and sine tables of every rope for the chunk's positions. `context` is the session's: it
/// decides between the frequencies of a long-context rope.
void fill_rope_tables(const model::Plan& plan, const Workspace& ws, uint32_t context, const Chunk& chunk);
/// ws.far_cosine and ws.far_sine, for every band that a token at `position` has, and every rope: means over
/// the distances of the band.
void fill_far_rope_tables(const model::Plan& plan, const Workspace& ws, uint32_t context, uint32_t position);
/// Those of the first band, of one distance alone.
void fill_far_rope_tables_at(const model::Plan& plan, const Workspace& ws, uint32_t context,
                             uint32_t distance);

}  // namespace minnow::exec
