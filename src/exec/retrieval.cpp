#include "exec/retrieval.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/checked.h"
#include "exec/key_index.h"
#include "exec/selection.h"

namespace minnow::exec {
namespace {

using model::Plan;

/// Selected rows that are brought together at a time, and attended to.
constexpr size_t kPiece = 256;

/// A thread's scratch, carved out of ws.retrieval_scratch.
struct Scratch {
  float* scores;      // (heads of a group, centroids)
  uint64_t* ranks;    // (centroids)
  float* bias;        // (centroids)   log2 of the keys left
  std::byte* weigh;   // of the kernel
  std::byte* rows;    // (kPiece, row_bytes) gathered K and V
  float* row_scales;  // (kPiece, 2)
  size_t bytes;
};

Scratch scratch_at(const Plan& plan, std::byte* base) {
  const size_t padded = round_up(size_t{plan.config->head_dim}, size_t{format::kChannelPadding});
  Scratch s{};
  size_t used = 0;
  const auto take = [&](auto*& slot, size_t count) {
    using T = std::remove_reference_t<decltype(*slot)>;
    slot = reinterpret_cast<T*>(base + used);
    used = round_up(used + count * sizeof(T), size_t{64});
  };
  take(s.scores, plan.config->group_size() * plan.centroids);
  take(s.ranks, plan.centroids);
  take(s.bias, plan.centroids);
  take(s.weigh, weigh_scratch_bytes(plan.centroids));
  take(s.rows, kPiece * 2 * padded * sizeof(float));
  take(s.row_scales, kPiece * 2);
  s.bytes = used;
  return s;
}

/// A token's attention in one layer. What a KV head attends to is cut into pieces: of the listed positions,
/// and behind them, where there is a remainder, what centroids stand for.
struct Selected {
  const Plan& plan;
  const Workspace& ws;
  const kv::Cache& cache;
  Retrieval& retrieval;
  uint32_t layer, position;
  size_t padded;

  uint32_t* list_of(size_t head) const { return ws.selected + head * ws.selected_stride; }
  bool has_rest() const {
    return retrieval.options.remainder && retrieval.options.selector == nullptr && far_end(position) > kSinks;
  }
  size_t pieces(size_t head) const { return ceil_div(size_t{ws.selected_count[head]}, kPiece); }

  void select(size_t head, uint32_t slot) const;
  float unit() const;
  void cap(float* x, size_t n) const;
  size_t choose(size_t head, const Scratch& s, uint32_t end, uint32_t* list) const;
  void attend_rest(size_t head, const Scratch& s) const;
  void piece(size_t head, size_t index, uint32_t slot) const;
  void merge(size_t head, size_t pieces) const;
};

/// The list of a KV head: sinks, what centroids choose, the window.
void Selected::select(size_t head, uint32_t slot) const {
  const Scratch s = scratch_at(plan, ws.retrieval_scratch_of(slot));
  const size_t first_head = head * plan.config->group_size();
  const uint32_t count = position + 1, end = far_end(position), first = std::min(kSinks, end);
  uint32_t* list = list_of(head);
  for (uint32_t p = 0; p < first; ++p) list[p] = p;
  size_t far = 0;
  if (retrieval.options.selector != nullptr) {
    const Selector::Request request{layer,
                                    static_cast<uint32_t>(head),
                                    position,
                                    ws.q + first_head * padded,
                                    ws.far_q + first_head * padded,
                                    cache.rows(layer, static_cast<uint32_t>(head)),
                                    retrieval.index.ids(layer, static_cast<uint32_t>(head))};
    far = retrieval.options.selector->select(request, first, end, list + first);
  } else if (end > first) {
    far = choose(head, s, end, list + first);
  }
  uint32_t* at = list + first + far;
  for (uint32_t p = std::max(end, first); p < count; ++p) *at++ = p;
  ws.selected_count[head] = static_cast<uint32_t>(at - list);
  if (has_rest()) attend_rest(head, s);
}

/// Far keys that any head of the group wants.
size_t Selected::choose(size_t head, const Scratch& s, uint32_t end, uint32_t* list) const {
  const RetrievalOptions& o = retrieval.options;
  const model::Config& c = *plan.config;
  const auto kv_head = static_cast<uint32_t>(head);
  const size_t n = plan.layers[layer].centroid_bias[head].size(), group = c.group_size();
  const ScoreArgs score{ws.far_q + head * group * padded,
                        padded,
                        retrieval.index.mean_keys(layer, kv_head),
                        s.scores,
                        n,
                        group,
                        n,
                        padded};
  plan.kernels.score->fn(&score);
  if (c.attention_softcap != 0.0f) cap(s.scores, group * n);

  const uint32_t* counts = retrieval.index.counts(layer, kv_head);
  auto most = static_cast<uint32_t>(o.fraction * static_cast<float>(position + 1));
  if (o.budget != 0) most = std::min(most, o.budget);
  Wanted wanted;
  wanted.clear(n);
  for (size_t g = 0; g < group; ++g) wanted.add(s.scores + g * n, counts, most, s.ranks);
  const float* log_counts = retrieval.index.log_counts(layer, kv_head);
  for (size_t i = 0; i < n; ++i) {  // before trimming, which uses up what it knows
    const uint32_t left = wanted.left(i, counts[i]);
    s.bias[i] = left == 0           ? -INFINITY
                : left == counts[i] ? log_counts[i]
                                    : std::log2(static_cast<float>(left));
  }
  const uint16_t* ids = retrieval.index.ids(layer, kv_head);
  size_t count = 0;
  const CollectArgs args{ids + kSinks, end - kSinks, wanted.bits(), list, kSinks, &count};
  plan.kernels.collect->fn(&args);
  return wanted.trim(ids, list, count);
}

/// From scores to exponents of two.
float Selected::unit() const {
  const model::Config& c = *plan.config;
  return 1.44269504f * (c.attention_softcap != 0.0f ? 1.0f : c.attention_scale);
}

/// x = cap * tanh(scale * x / cap)
void Selected::cap(float* x, size_t n) const {
  const model::Config& c = *plan.config;
  const AxpyArgs down{nullptr, x, n, 0.0f, c.attention_scale / c.attention_softcap};
  const ActivationArgs squash{x, nullptr, x, n, ::Activation::tanh};
  const AxpyArgs up{nullptr, x, n, 0.0f, c.attention_softcap};
  plan.kernels.axpy->fn(&down);
  plan.kernels.activation->fn(&squash);
  plan.kernels.axpy->fn(&up);
}

/// What is not listed, into the place behind the listed pieces: every centroid weighs as many keys as it has
/// left.
void Selected::attend_rest(size_t head, const Scratch& s) const {
  const model::Config& c = *plan.config;
  const auto kv_head = static_cast<uint32_t>(head);
  const size_t n = plan.layers[layer].centroid_bias[head].size(), group = c.group_size();
  const size_t index = pieces(head), h = head * group;
  WeighArgs w{};
  w.x = s.scores, w.x_stride = n, w.unit = unit();
  w.bias = s.bias;
  w.v = retrieval.index.mean_values(layer, kv_head), w.row_stride = padded * sizeof(uint16_t);
  w.out = ws.selected_partial + index * ws.q_stride + h * padded, w.out_stride = padded;
  w.max = ws.selected_max + index * c.head_count + h;
  w.sum = ws.selected_sum + index * c.head_count + h;
  w.heads = group, w.n = n, w.dim = padded;
  w.scratch = s.weigh;
  plan.kernels.weigh->fn(&w);
}

/// Brings rows together: they lie anywhere, so the next ones are asked for while one is copied.
void gather(const kv::Shape& shape, const kv::RowView& rows, const uint32_t* list, size_t n,
            const Scratch& s) {
  constexpr size_t kAhead = 16;
  const size_t bytes = shape.half_bytes() * 2;
  const auto ask = [&](size_t i) {
    const uint8_t* row = rows.k + list[i] * rows.row_stride;
    for (size_t at = 0; at < bytes; at += 64) __builtin_prefetch(row + at);
    if (rows.k_scale != nullptr)
      __builtin_prefetch(reinterpret_cast<const char*>(rows.k_scale) + list[i] * rows.scale_stride);
  };
  for (size_t i = 0; i < std::min(kAhead, n); ++i) ask(i);
  for (size_t i = 0; i < n; ++i) {
    if (i + kAhead < n) ask(i + kAhead);
    std::memcpy(s.rows + i * bytes, rows.k + list[i] * rows.row_stride, bytes);
    if (rows.k_scale == nullptr) continue;
    const char* scales = reinterpret_cast<const char*>(rows.k_scale) + list[i] * rows.scale_stride;
    std::memcpy(s.row_scales + 2 * i, scales, 2 * sizeof(float));
  }
}

void Selected::piece(size_t head, size_t index, uint32_t slot) const {
  const model::Config& c = *plan.config;
  const kv::Shape& shape = cache.shape();
  const size_t group = c.group_size(), count = ws.selected_count[head];
  const size_t first = index * kPiece, n = std::min(kPiece, count - first);
  const Scratch s = scratch_at(plan, ws.retrieval_scratch_of(slot));
  const kv::RowView rows = cache.rows(layer, static_cast<uint32_t>(head));
  gather(shape, rows, list_of(head) + first, n, s);
  AttentionArgs a{};
  a.q_token_stride = a.out_token_stride = ws.q_stride, a.q_head_stride = a.out_head_stride = padded;
  a.tokens = 1;
  a.k = s.rows, a.v = s.rows + shape.half_bytes(), a.row_stride = shape.half_bytes() * 2;
  if (rows.k_scale != nullptr)
    a.k_scales = s.row_scales, a.v_scales = s.row_scales + 1, a.scale_stride = 2 * sizeof(float);
  a.p1 = a.last = n;
  a.d = padded, a.scale = c.attention_scale, a.cap = c.attention_softcap;
  a.scratch = ws.attention_scratch_of(slot);
  for (size_t g = 0; g < group; g += kAttentionRows) {
    const size_t h = head * group + g;
    a.heads = std::min<size_t>(kAttentionRows, group - g);
    a.q = ws.q + h * padded;
    a.out = ws.selected_partial + index * ws.q_stride + h * padded;
    a.max = ws.selected_max + index * c.head_count + h;
    a.sum = ws.selected_sum + index * c.head_count + h;
    attention_kernel(plan, cache)->fn(&a);
  }
  if (ws.selected_done[head].fetch_add(1, std::memory_order_acq_rel) + 1 < pieces(head)) return;
  ws.selected_done[head].store(0, std::memory_order_relaxed);
  merge(head, pieces(head) + (has_rest() ? 1 : 0));
}

/// In the order of the pieces, whoever came last: the same bits for every number of threads.
void Selected::merge(size_t head, size_t pieces) const {
  const model::Config& c = *plan.config;
  for (size_t h = head * c.group_size(); h < (head + 1) * c.group_size(); ++h) {
    const float *max = ws.selected_max + h, *sum = ws.selected_sum + h;
    float top = max[0], total = 0.0f;
    for (size_t i = 1; i < pieces; ++i) top = std::max(top, max[i * c.head_count]);
    for (size_t i = 0; i < pieces; ++i)
      total += sum[i * c.head_count] * std::exp2(max[i * c.head_count] - top);
    for (size_t i = 0; i < pieces; ++i) {
      const float share = sum[i * c.head_count] * std::exp2(max[i * c.head_count] - top) / total;
      const AxpyArgs add{ws.selected_partial + i * ws.q_stride + h * padded, ws.attn + h * padded, padded,
                         share, i == 0 ? 0.0f : 1.0f};
      plan.kernels.axpy->fn(&add);
    }
  }
}

}  // namespace

size_t retrieval_scratch_bytes(const Plan& plan) {
  return std::max(scratch_at(plan, nullptr).bytes, key_index_scratch_bytes(plan));
}

size_t most_selected_pieces(uint32_t context) {
  return ceil_div(size_t{context}, kPiece) + 1;
}

void attend_selected(const Plan& plan, const Workspace& ws, ThreadPool& pool, const kv::Cache& cache,
                     Retrieval& retrieval, uint32_t layer, const Chunk& chunk) {
  const model::Config& c = *plan.config;
  const Selected selected{plan, ws, cache, retrieval, layer, chunk.position, cache.shape().padded_dim()};
  pool.parallel_for_each(c.kv_head_count, [&](size_t begin, size_t end, uint32_t slot) {
    for (size_t head = begin; head < end; ++head) selected.select(head, slot);
  });
  size_t items = 0;
  for (size_t h = 0; h < c.kv_head_count; ++h) {
    retrieval.counts.attended += ws.selected_count[h];
    retrieval.attended_last += ws.selected_count[h];
    items += selected.pieces(h);
  }
  retrieval.counts.seen += uint64_t{c.kv_head_count} * (chunk.position + 1);
  pool.parallel_for_each(items, [&](size_t begin, size_t end, uint32_t slot) {
    for (size_t item = begin; item < end; ++item) {
      size_t head = 0, index = item;
      while (index >= selected.pieces(head)) index -= selected.pieces(head++);
      selected.piece(head, index, slot);
    }
  });
  pack_heads(ws.attn, c.head_count, c.head_dim, selected.padded);
}

}  // namespace minnow::exec
