#include "exec/retrieval.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/checked.h"
#include "exec/quantised_linear.h"
#include "exec/selection.h"

namespace minnow::exec {
namespace {

using model::Codebook;
using model::Plan;

/// Keys whose centroids are sought at a time: their scores stay in the second-level cache.
constexpr size_t kKeyRows = 32;
/// Selected rows that are brought together at a time, and attended to.
constexpr size_t kPiece = 256;

/// A thread's scratch, carved out of ws.retrieval_scratch.
struct Scratch {
  float* vectors;      // (rows, padded)      keys or queries in the metric of the codebook
  int8_t* codes;       // (rows, code_stride)
  float *scales, *zs;  // (rows, group_stride)
  int32_t* sums;       // (rows, group_stride)
  float* scores;       // (rows, centroids)
  uint32_t* order;     // (centroids)
  std::byte* rows;     // (kPiece, row_bytes) gathered K and V
  float* row_scales;   // (kPiece, 2)
  size_t code_stride, group_stride, bytes;
};

size_t scratch_rows(const Plan& plan) {
  return std::max<size_t>(kKeyRows, plan.config->group_size() + 1);
}

Scratch scratch_at(const Plan& plan, std::byte* base) {
  const size_t padded = round_up(size_t{plan.config->head_dim}, size_t{format::kChannelPadding});
  const size_t rows = scratch_rows(plan), groups = (padded + 127) / 128;
  Scratch s{};
  s.code_stride = round_up(padded, kInputPadding);
  s.group_stride = round_up(groups, kInputGroupPadding);
  size_t used = 0;
  const auto take = [&](auto*& slot, size_t count) {
    using T = std::remove_reference_t<decltype(*slot)>;
    slot = reinterpret_cast<T*>(base + used);
    used = round_up(used + count * sizeof(T), size_t{64});
  };
  take(s.vectors, rows * padded);
  take(s.codes, rows * s.code_stride);
  take(s.scales, rows * s.group_stride);
  take(s.zs, rows * s.group_stride);
  take(s.sums, rows * s.group_stride);
  take(s.scores, rows * plan.centroids);
  take(s.order, plan.centroids);
  take(s.rows, kPiece * 2 * padded * sizeof(float));
  take(s.row_scales, kPiece * 2);
  s.bytes = used;
  return s;
}

/// s.vectors as int8, and zeros behind every row as kernels want them.
QuantisedInput quantise(const Plan& plan, const Scratch& s, size_t rows, size_t padded) {
  QuantizeArgs q{};
  q.x = s.vectors, q.x_stride = padded;
  q.q = s.codes, q.q_stride = s.code_stride;
  q.scale = s.scales, q.sum = s.sums, q.s_stride = s.group_stride;
  q.m = rows, q.k = q.k_padded = padded, q.group = 128;
  plan.kernels.quantize->fn(&q);
  const size_t groups = (padded + 127) / 128;
  for (size_t r = 0; r < rows; ++r) {
    std::fill(s.codes + r * s.code_stride + padded, s.codes + (r + 1) * s.code_stride, int8_t{0});
    for (size_t g = 0; g < s.group_stride; ++g) {
      const size_t at = r * s.group_stride + g;
      if (g >= groups) s.scales[at] = 0.0f;
      s.zs[at] = g < groups ? s.scales[at] * static_cast<float>(s.sums[at]) : 0.0f;
    }
  }
  return {s.codes, s.code_stride, s.scales, s.zs, s.group_stride};
}

/// scores (rows, centroids) = vectors (rows, padded) times the centres.
void score(const Plan& plan, const Workspace& ws, const Codebook& book, const Scratch& s, size_t rows,
           uint32_t slot) {
  const model::SlabWeights& slab = book.centres.slabs.front();
  const QuantisedInput x = quantise(plan, s, rows, slab.padded);
  const QuantisedWeights w = view_of(slab);
  const size_t n = book.centres.rows;
  if (rows <= kFewColumns) {
    const GemvPanelArgs args{w, x, nullptr, s.scores, n, rows, 0, n, slab.padded, false};
    plan.kernels.gemv_panel->fn(&args);
    return;
  }
  float* tile = ws.tile_of(slot);
  for (size_t n0 = 0; n0 < n; n0 += kTileRows) {
    ExpandArgs e{};
    e.w = w, e.layout = ExpandLayout::panel;
    e.n = n, e.channels = slab.padded;
    e.n0 = n0, e.rows = std::min(kTileRows, n - n0);
    e.k0 = 0, e.k1 = slab.padded;
    e.codes = reinterpret_cast<uint8_t*>(tile);
    e.scales = tile + kTileRows * slab.padded / sizeof(float);
    e.zeros = e.scales + kTileRows * slab.groups;
    plan.kernels.expand->fn(&e);
    GemmArgs g{};
    g.codes = e.codes, g.scales = e.scales, g.zeros = e.zeros;
    g.rows = e.rows, g.k = slab.padded, g.group = slab.group, g.bits = w.bits;
    g.x = x, g.m = rows, g.n = e.rows;
    g.y = s.scores + n0, g.y_stride = n;
    plan.kernels.gemm->fn(&g);
  }
}

/// vectors[row] = k L + offset, as U k + offset where U = L^T.
void whiten_keys(const Plan& plan, const Codebook& book, const float* k, size_t stride, size_t rows,
                 float* to, size_t padded) {
  const size_t dim = plan.config->head_dim;
  LinearFloatArgs a{};
  a.x = k, a.x_stride = stride;
  a.w = book.whitening, a.w_stride = padded * sizeof(float);
  a.bias = book.offset;
  a.y = to, a.y_stride = padded;
  a.m = rows, a.n0 = 0, a.n1 = dim, a.k = padded;
  plan.kernels.linear_f32->fn(&a);
  for (size_t r = 0; r < rows; ++r) std::fill(to + r * padded + dim, to + (r + 1) * padded, 0.0f);
}

/// y = L^-1 q: then y (k L + offset)^T = q k^T and something that is the same for all keys. Column after
/// column of L, which are rows of U.
void whiten_query(const Plan& plan, const Codebook& book, const float* q, float* y, size_t padded) {
  const size_t dim = plan.config->head_dim;
  std::copy_n(q, padded, y);
  for (size_t i = 0; i < dim; ++i) {
    const float* u = book.whitening + i * padded;
    y[i] /= u[i];
    const float yi = y[i];
    for (size_t j = i + 1; j < dim; ++j) y[j] -= yi * u[j];
  }
}

void nearest(const Plan& plan, const model::PlanLayer& layer, size_t head, const Scratch& s, size_t rows,
             uint16_t* ids) {
  const auto& bias = layer.centroid_bias[head];
  const NearestArgs args{s.scores, bias.size(), bias.data(), ids, 1, rows, bias.size()};
  plan.kernels.nearest->fn(&args);
}

/// A token's attention in one layer.
struct Selected {
  const Plan& plan;
  const Workspace& ws;
  const kv::Cache& cache;
  Retrieval& retrieval;
  uint32_t layer, position;
  size_t padded;

  uint32_t* list_of(size_t head) const { return ws.selected + head * ws.selected_stride; }
  void select(size_t head, uint32_t slot) const;
  size_t choose(size_t head, const Scratch& s, uint32_t end, uint32_t* list) const;
  void piece(size_t head, size_t index, uint32_t slot) const;
  void merge(size_t head, size_t pieces) const;
};

/// The list of a KV head: sinks, what codebooks choose, the window.
void Selected::select(size_t head, uint32_t slot) const {
  const model::Config& c = *plan.config;
  const size_t group = c.group_size();
  const Codebook& book = plan.layers[layer].weights->codebooks[head];
  const Scratch s = scratch_at(plan, ws.retrieval_scratch_of(slot));
  const size_t n = book.centres.rows;
  whiten_keys(plan, book, ws.far_k + head * padded, 0, 1, s.vectors + group * padded, padded);
  for (size_t g = 0; g < group; ++g)
    whiten_query(plan, book, ws.far_q + (head * group + g) * padded, s.vectors + g * padded, padded);
  score(plan, ws, book, s, group + 1, slot);
  const Scratch key = [&] {
    Scratch k = s;
    k.scores += group * n;
    return k;
  }();
  uint16_t* ids = retrieval.index.ids(layer, static_cast<uint32_t>(head));
  nearest(plan, plan.layers[layer], head, key, 1, ids + position);

  const uint32_t count = position + 1, end = count > kWindow ? count - kWindow : 0;
  const uint32_t first = std::min(kSinks, end);
  uint32_t* list = list_of(head);
  for (uint32_t p = 0; p < first; ++p) list[p] = p;
  size_t far = 0;
  if (retrieval.options.selector != nullptr) {
    const Selector::Request request{layer,
                                    static_cast<uint32_t>(head),
                                    position,
                                    ws.q + head * group * padded,
                                    ws.far_q + head * group * padded,
                                    cache.rows(layer, static_cast<uint32_t>(head)),
                                    ids};
    far = retrieval.options.selector->select(request, first, end, list + first);
  } else {
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
  if (end <= kSinks) return 0;
  const size_t n = plan.layers[layer].centroid_bias[head].size();
  const uint32_t* counts = retrieval.index.counts(layer, static_cast<uint32_t>(head), kSinks, end);
  HeadBudget budget;
  budget.most = static_cast<uint32_t>(o.fraction * static_cast<float>(position + 1));
  if (o.budget != 0) budget.most = std::min(budget.most, o.budget);
  budget.least = budget.most / 8;
  budget.mass = o.mass;
  budget.unit = c.attention_scale * 1.44269504f;
  Wanted wanted;
  wanted.clear(n);
  for (size_t g = 0; g < c.group_size(); ++g) wanted.add(s.scores + g * n, counts, budget, s.order);
  const uint16_t* ids = retrieval.index.ids(layer, static_cast<uint32_t>(head));
  size_t count = 0;
  const CollectArgs args{ids + kSinks, end - kSinks, wanted.bits(), list, kSinks, &count};
  plan.kernels.collect->fn(&args);
  return wanted.trim(ids, list, count);
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
  const size_t pieces = ceil_div(count, kPiece);
  if (ws.selected_done[head].fetch_add(1, std::memory_order_acq_rel) + 1 < pieces) return;
  ws.selected_done[head].store(0, std::memory_order_relaxed);
  merge(head, pieces);
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
  return scratch_at(plan, nullptr).bytes;
}

size_t most_selected_pieces(uint32_t context) {
  return ceil_div(size_t{context}, kPiece);
}

void index_keys(const Plan& plan, const Workspace& ws, ThreadPool& pool, kv::Index& index, uint32_t layer,
                const Chunk& chunk) {
  const model::PlanLayer& l = plan.layers[layer];
  const size_t padded = round_up(size_t{plan.config->head_dim}, size_t{format::kChannelPadding});
  const size_t heads = l.weights->codebooks.size(), blocks = ceil_div(chunk.m, kKeyRows);
  pool.parallel_for(heads * blocks, 1, [&](size_t begin, size_t end, uint32_t slot) {
    const Scratch s = scratch_at(plan, ws.retrieval_scratch_of(slot));
    for (size_t item = begin; item < end; ++item) {
      const size_t head = item / blocks, t = item % blocks * kKeyRows, rows = std::min(kKeyRows, chunk.m - t);
      const Codebook& book = l.weights->codebooks[head];
      whiten_keys(plan, book, ws.far_k + t * ws.kv_stride + head * padded, ws.kv_stride, rows, s.vectors,
                  padded);
      score(plan, ws, book, s, rows, slot);
      nearest(plan, l, head, s, rows, index.ids(layer, static_cast<uint32_t>(head)) + chunk.position + t);
    }
  });
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
    items += ceil_div(size_t{ws.selected_count[h]}, kPiece);
  }
  retrieval.counts.seen += uint64_t{c.kv_head_count} * (chunk.position + 1);
  pool.parallel_for_each(items, [&](size_t begin, size_t end, uint32_t slot) {
    for (size_t item = begin; item < end; ++item) {
      size_t head = 0, index = item;
      for (;; ++head) {
        const size_t pieces = ceil_div(size_t{ws.selected_count[head]}, kPiece);
        if (index < pieces) break;
        index -= pieces;
      }
      selected.piece(head, index, slot);
    }
  });
  pack_heads(ws.attn, c.head_count, c.head_dim, selected.padded);
}

}  // namespace minnow::exec
