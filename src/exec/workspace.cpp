#include "exec/workspace.h"

#include <algorithm>

#include "base/checked.h"
#include "exec/attention.h"
#include "exec/bands.h"
#include "exec/float_gemm.h"
#include "exec/quantised_linear.h"
#include "exec/retrieval.h"

namespace minnow::exec {
namespace {

/// Lays arrays one behind another, 64-byte aligned; a first pass counts, a second assigns.
class Arena {
 public:
  explicit Arena(std::byte* base) : base_(base) {}
  template <typename T>
  void take(T*& slot, uint64_t count) {
    if (base_ != nullptr) slot = reinterpret_cast<T*>(base_ + used_);
    used_ = round_up(used_ + count * sizeof(T), uint64_t{64});
  }
  uint64_t used() const { return used_; }

 private:
  std::byte* base_;
  uint64_t used_ = 0;
};

size_t padded(size_t n) {
  return round_up(n, size_t{format::kChannelPadding});
}

/// Rows a large power of two apart would share a few sets of every cache, and a tile of many columns would
/// evict itself.
size_t spaced(size_t n) {
  const size_t floats = padded(n);
  return floats % 256 == 0 ? floats + format::kChannelPadding : floats;
}

uint64_t lay_out(Workspace& w, const model::Plan& plan, const WorkspaceShape& shape, std::byte* base) {
  const model::Config& c = *plan.config;
  const uint32_t chunk = shape.chunk, context = shape.context, threads = shape.threads;
  const size_t head = padded(c.head_dim);
  w.chunk = chunk;
  w.hidden_stride = spaced(c.hidden_size);
  w.q_stride = spaced(c.head_count * head);
  w.kv_stride = spaced(c.kv_head_count * head);
  w.ffn_stride = spaced(c.ffn_size);
  w.embedding_stride = spaced(c.embedding_size);
  w.rotary_half = c.rotary_dim / 2;
  w.scratch_stride = round_up(attention_scratch_bytes(head), size_t{64});
  w.logit_rows = shape.logit_rows;
  const size_t widest = std::max({w.hidden_stride, w.q_stride, w.ffn_stride, w.embedding_stride});
  w.tile_stride = quantised_tile_floats();
  if (plan.use_xnnpack && plan.input.float_tiles)
    w.tile_stride = std::max(w.tile_stride, kGemmTileRows * widest);
  w.masked_stride = plan.masks.empty() ? 0 : widest + 2 * kThresholdSlack;
  w.partial_stride = round_up(size_t{plan.input.channel_rows}, size_t{kChannelSums});

  Arena a(base);
  const uint64_t rows = chunk;
  a.take(w.hidden, rows * w.hidden_stride);
  a.take(w.normed, rows * w.hidden_stride);
  a.take(w.branch, rows * w.hidden_stride);
  a.take(w.embed, c.embedding_size != c.hidden_size ? rows * w.embedding_stride : 0);
  a.take(w.q, rows * w.q_stride);
  a.take(w.k, rows * w.kv_stride);
  a.take(w.v, rows * w.kv_stride);
  a.take(w.attn, rows * w.q_stride);
  a.take(w.gate, rows * w.ffn_stride);
  a.take(w.up, rows * w.ffn_stride);
  a.take(w.cosine, c.ropes.size() * rows * w.rotary_half);
  a.take(w.sine, c.ropes.size() * rows * w.rotary_half);
  a.take(w.attention_scratch, threads * w.scratch_stride);
  const size_t piece_tokens = most_piece_tokens(context);
  a.take(w.partial, piece_tokens * w.q_stride);
  a.take(w.partial_max, piece_tokens * c.head_count);
  a.take(w.partial_sum, piece_tokens * c.head_count);
  a.take(w.pieces_done, piece_tokens * c.head_count);
  a.take(w.tile, threads * w.tile_stride);
  a.take(w.logits, uint64_t{shape.logit_rows} * c.vocab_size);
  a.take(w.input, rows * plan.input.floats);
  a.take(w.input_codes, rows * plan.input.codes);
  a.take(w.input_scales, rows * plan.input.groups);
  a.take(w.input_zs, rows * plan.input.groups);
  a.take(w.input_sums, uint64_t{threads} * plan.input.groups);
  a.take(w.channel_partials,
         std::min<uint64_t>(rows, kFewPasses) * plan.input.channel_pieces * w.partial_stride);
  a.take(w.channel_sums, uint64_t{threads} * w.partial_stride);
  a.take(w.masked, uint64_t{threads} * w.masked_stride);
  a.take(w.inputs, w.masked_stride);
  a.take(w.input_starts, plan.masks.empty() ? 0 : plan.input.groups + plan.input.slabs);
  a.take(w.neurons, plan.masks.empty() ? 0 : w.ffn_stride);
  a.take(w.kept, plan.masks.size());
  a.take(w.bytes_skipped, 1);
  if (shape.retrieval || shape.far_queries) {
    const uint64_t bands = bands_of(context);
    w.far_rows = shape.far_queries ? rows : 1;
    a.take(w.far_q, bands * w.far_rows * w.q_stride);
    a.take(w.far_k, rows * w.kv_stride);
    a.take(w.far_cosine, bands * c.ropes.size() * w.rotary_half);
    a.take(w.far_sine, bands * c.ropes.size() * w.rotary_half);
  }
  if (shape.retrieval) {
    const uint64_t pieces = most_selected_pieces(context);
    w.selected_stride = round_up(size_t{context} + kCollectSlack, size_t{64});
    w.retrieval_stride = retrieval_scratch_bytes(plan);
    a.take(w.selected, c.kv_head_count * w.selected_stride);
    a.take(w.selected_count, c.kv_head_count);
    a.take(w.selected_partial, pieces * w.q_stride);
    a.take(w.selected_max, pieces * c.head_count);
    a.take(w.selected_sum, pieces * c.head_count);
    a.take(w.selected_done, c.kv_head_count);
    a.take(w.retrieval_scratch, threads * w.retrieval_stride);
  }
  return a.used();
}

}  // namespace

uint64_t Workspace::bytes(const model::Plan& plan, const WorkspaceShape& shape) {
  Workspace w;
  return lay_out(w, plan, shape, nullptr);
}

Result<Workspace> Workspace::create(const model::Plan& plan, const WorkspaceShape& shape) {
  Workspace w;
  MINNOW_ASSIGN(w.memory, Buffer::allocate(bytes(plan, shape), "a session's workspace"));
  lay_out(w, plan, shape, w.memory.data());
  return w;
}

}  // namespace minnow::exec
