#include "exec/workspace.h"

#include <algorithm>

#include "base/checked.h"
#include "exec/float_gemm.h"
#include "exec/quantised_linear.h"

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

uint64_t lay_out(Workspace& w, const model::Plan& plan, uint32_t chunk, uint32_t context, uint32_t threads,
                 uint32_t logit_rows, std::byte* base) {
  const model::Config& c = *plan.config;
  const size_t head = padded(c.head_dim);
  w.chunk = chunk;
  w.hidden_stride = padded(c.hidden_size);
  w.q_stride = c.head_count * head;
  w.kv_stride = c.kv_head_count * head;
  w.ffn_stride = padded(c.ffn_size);
  w.embedding_stride = padded(c.embedding_size);
  w.rotary_half = c.rotary_dim / 2;
  w.score_stride = round_up(size_t{c.group_size()} * context, size_t{16});
  w.logit_rows = logit_rows;
  const size_t widest = std::max({w.hidden_stride, w.q_stride, w.ffn_stride, w.embedding_stride});
  w.tile_stride = quantised_tile_floats();
  if (plan.use_xnnpack && plan.input.float_tiles) w.tile_stride = std::max(w.tile_stride, kGemmTileRows * widest);
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
  a.take(w.scores, threads * w.score_stride);
  a.take(w.tile, threads * w.tile_stride);
  a.take(w.logits, uint64_t{logit_rows} * c.vocab_size);
  a.take(w.input, rows * plan.input.floats);
  a.take(w.input_codes, rows * plan.input.codes);
  a.take(w.input_scales, rows * plan.input.groups);
  a.take(w.input_zs, rows * plan.input.groups);
  a.take(w.input_sums, uint64_t{threads} * plan.input.groups);
  a.take(w.partials, uint64_t{plan.input.channel_pieces} * w.partial_stride);
  a.take(w.channel_sums, uint64_t{threads} * w.partial_stride);
  return a.used();
}

}  // namespace

uint64_t Workspace::bytes(const model::Plan& plan, uint32_t chunk, uint32_t context, uint32_t threads,
                          uint32_t logit_rows) {
  Workspace w;
  return lay_out(w, plan, chunk, context, threads, logit_rows, nullptr);
}

Result<Workspace> Workspace::create(const model::Plan& plan, uint32_t chunk, uint32_t context,
                                    uint32_t threads, uint32_t logit_rows) {
  Workspace w;
  MINNOW_ASSIGN(w.memory,
                Buffer::allocate(bytes(plan, chunk, context, threads, logit_rows), "a session's workspace"));
  lay_out(w, plan, chunk, context, threads, logit_rows, w.memory.data());
  return w;
}

}  // namespace minnow::exec
