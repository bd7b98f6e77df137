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

/// Selected rows that are brought together at a time, and attended to; centroids that are.
constexpr size_t kPiece = 256;

/// A thread's scratch, carved out of ws.retrieval_scratch.
struct Scratch {
  float* scores;      // (heads of a group, centroids)
  uint32_t* order;    // (centroids)
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
  take(s.order, plan.centroids);
  take(s.rows, kPiece * 2 * padded * sizeof(float));
  take(s.row_scales, kPiece * 2);
  s.bytes = used;
  return s;
}

/// A token's attention in one layer. What a KV head attends to is cut into pieces: of the listed positions
/// first, then, where there is a remainder, of the centroids that stand for the others.
struct Selected {
  const Plan& plan;
  const Workspace& ws;
  const kv::Cache& cache;
  Retrieval& retrieval;
  uint32_t layer, position;
  size_t padded;

  uint32_t* list_of(size_t head) const { return ws.selected + head * ws.selected_stride; }
  float* bias_of(size_t head) const { return ws.remainder_bias + head * ws.remainder_stride; }
  size_t listed_pieces(size_t head) const { return ceil_div(size_t{ws.selected_count[head]}, kPiece); }
  size_t pieces(size_t head) const {
    return listed_pieces(head) + ceil_div(size_t{ws.remainder[head]}, kPiece);
  }

  void select(size_t head, uint32_t slot) const;
  size_t choose(size_t head, const Scratch& s, uint32_t end, uint32_t* list) const;
  void weigh_rest(size_t head, const Wanted& wanted, size_t n) const;
  void piece(size_t head, size_t index, uint32_t slot) const;
  void attend_piece(size_t head, size_t index, const float* q, AttentionArgs a,
                    const AttentionKernel* kernel) const;
  void merge(size_t head, size_t pieces) const;
};

/// The list of a KV head: sinks, what centroids choose, the window.
void Selected::select(size_t head, uint32_t slot) const {
  const Scratch s = scratch_at(plan, ws.retrieval_scratch_of(slot));
  const size_t first_head = head * plan.config->group_size();
  const uint32_t count = position + 1, end = far_end(position), first = std::min(kSinks, end);
  uint32_t* list = list_of(head);
  for (uint32_t p = 0; p < first; ++p) list[p] = p;
  ws.remainder[head] = 0;
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
}

/// Far keys that any head of the group wants.
size_t Selected::choose(size_t head, const Scratch& s, uint32_t end, uint32_t* list) const {
  const RetrievalOptions& o = retrieval.options;
  const model::Config& c = *plan.config;
  const auto kv_head = static_cast<uint32_t>(head);
  const size_t n = plan.layers[layer].centroid_bias[head].size(), group = c.group_size();
  LinearFloatArgs score{};
  score.x = ws.far_q + head * group * padded, score.x_stride = padded;
  score.w = retrieval.index.means(layer, kv_head), score.w_stride = 2 * padded * sizeof(uint16_t);
  score.y = s.scores, score.y_stride = n;
  score.m = group, score.n0 = 0, score.n1 = n, score.k = padded;
  plan.kernels.linear_f16->fn(&score);

  const uint32_t* counts = retrieval.index.counts(layer, kv_head);
  HeadBudget budget;
  budget.most = static_cast<uint32_t>(o.fraction * static_cast<float>(position + 1));
  if (o.budget != 0) budget.most = std::min(budget.most, o.budget);
  budget.least = budget.most / 8;
  budget.mass = o.mass;
  budget.unit = c.attention_scale * 1.44269504f;
  Wanted wanted;
  wanted.clear(n);
  for (size_t g = 0; g < group; ++g) wanted.add(s.scores + g * n, counts, budget, s.order);
  if (o.remainder) weigh_rest(head, wanted, n);
  const uint16_t* ids = retrieval.index.ids(layer, kv_head);
  size_t count = 0;
  const CollectArgs args{ids + kSinks, end - kSinks, wanted.bits(), list, kSinks, &count};
  plan.kernels.collect->fn(&args);
  return wanted.trim(ids, list, count);
}

/// The weights of what is not listed: as many keys as a centroid has left.
void Selected::weigh_rest(size_t head, const Wanted& wanted, size_t n) const {
  const uint32_t* counts = retrieval.index.counts(layer, static_cast<uint32_t>(head));
  const float* log_counts = retrieval.index.log_counts(layer, static_cast<uint32_t>(head));
  float* bias = bias_of(head);
  for (size_t i = 0; i < n; ++i) {
    const uint32_t left = wanted.left(i, counts[i]);
    bias[i] = left == 0 ? -INFINITY : left == counts[i] ? log_counts[i] : std::log2(static_cast<float>(left));
  }
  ws.remainder[head] = static_cast<uint32_t>(n);
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
  const kv::Shape& shape = cache.shape();
  const size_t listed = listed_pieces(head), all = pieces(head);
  AttentionArgs a{};
  a.scratch = ws.attention_scratch_of(slot);
  if (index < listed) {
    const Scratch s = scratch_at(plan, ws.retrieval_scratch_of(slot));
    const size_t first = index * kPiece, n = std::min(kPiece, ws.selected_count[head] - first);
    const kv::RowView rows = cache.rows(layer, static_cast<uint32_t>(head));
    gather(shape, rows, list_of(head) + first, n, s);
    a.k = s.rows, a.v = s.rows + shape.half_bytes(), a.row_stride = shape.half_bytes() * 2;
    if (rows.k_scale != nullptr)
      a.k_scales = s.row_scales, a.v_scales = s.row_scales + 1, a.scale_stride = 2 * sizeof(float);
    a.p1 = a.last = n;
    attend_piece(head, index, ws.q, a, attention_kernel(plan, cache));
  } else {
    const uint16_t* means = retrieval.index.means(layer, static_cast<uint32_t>(head));
    a.k = means, a.v = means + padded, a.row_stride = 2 * padded * sizeof(uint16_t);
    a.bias = bias_of(head);
    a.p0 = (index - listed) * kPiece;
    a.p1 = a.last = std::min<size_t>(a.p0 + kPiece, ws.remainder[head]);
    attend_piece(head, index, ws.far_q, a, plan.kernels.attention_f16);
  }
  if (ws.selected_done[head].fetch_add(1, std::memory_order_acq_rel) + 1 < all) return;
  ws.selected_done[head].store(0, std::memory_order_relaxed);
  merge(head, all);
}

/// The group's queries over what `a` says, into the piece's place.
void Selected::attend_piece(size_t head, size_t index, const float* q, AttentionArgs a,
                            const AttentionKernel* kernel) const {
  const model::Config& c = *plan.config;
  const size_t group = c.group_size();
  a.q_token_stride = a.out_token_stride = ws.q_stride, a.q_head_stride = a.out_head_stride = padded;
  a.tokens = 1;
  a.d = padded, a.scale = c.attention_scale, a.cap = c.attention_softcap;
  for (size_t g = 0; g < group; g += kAttentionRows) {
    const size_t h = head * group + g;
    a.heads = std::min<size_t>(kAttentionRows, group - g);
    a.q = q + h * padded;
    a.out = ws.selected_partial + index * ws.q_stride + h * padded;
    a.max = ws.selected_max + index * c.head_count + h;
    a.sum = ws.selected_sum + index * c.head_count + h;
    kernel->fn(&a);
  }
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
  return ceil_div(size_t{context}, kPiece) + ceil_div(size_t{model::kMostCentroids}, kPiece);
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
