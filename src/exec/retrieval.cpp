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
  float* scores;  // (heads of a group, cells)
  WantedScratch wanted;
  float* bias;        // (cells)   log2 of the keys, then of the keys left
  float *top, *mass;  // (heads of a group)   of far keys, as `weigh` says it
  std::byte* weigh;   // of the kernel
  std::byte* rows;    // (kPiece, row_bytes) gathered K and V
  float* row_scales;  // (kPiece, 2)
  size_t bytes;
};

Scratch scratch_at(const Plan& plan, std::byte* base) {
  const size_t cells = kMostBands * plan.centroids;
  const size_t padded = round_up(size_t{plan.config->head_dim}, size_t{format::kChannelPadding});
  Scratch s{};
  size_t used = 0;
  const auto take = [&](auto*& slot, size_t count) {
    using T = std::remove_reference_t<decltype(*slot)>;
    slot = reinterpret_cast<T*>(base + used);
    used = round_up(used + count * sizeof(T), size_t{64});
  };
  take(s.scores, plan.config->group_size() * cells);
  take(s.wanted.ranks, cells);
  take(s.wanted.list, cells + kAtLeastSlack);
  take(s.bias, cells);
  take(s.top, plan.config->group_size());
  take(s.mass, plan.config->group_size());
  take(s.weigh, weigh_scratch_bytes(cells));
  take(s.rows, kPiece * 2 * padded * sizeof(float));
  take(s.row_scales, kPiece * 2);
  s.bytes = used;
  return s;
}

/// A share of all positions, at least so many, within the budget.
uint32_t keys_within(const RetrievalOptions& o, float share, uint32_t position, uint32_t least = 0) {
  const auto n = std::max(least, static_cast<uint32_t>(share * static_cast<float>(position + 1)));
  return o.budget != 0 ? std::min(n, o.budget) : n;
}

/// A token's attention in one layer. What a KV head attends to is cut into pieces: what is near, that is
/// sinks and window, by which heads know what far keys are worth; the far keys listed; and where there is a
/// remainder, what centroids stand for.
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
  size_t near() const { return std::min(position + 1, kSinks + kWindow); }
  size_t far_pieces(size_t head) const { return ceil_div(ws.selected_count[head] - near(), kPiece); }

  void select(size_t head, uint32_t slot) const;
  float unit() const;
  void cap(float* x, size_t n) const;
  uint32_t bands() const { return bands_of(position + 1); }
  size_t centroids(size_t head) const { return plan.layers[layer].centroid_bias[head].size(); }
  size_t choose(size_t head, const Scratch& s, uint32_t* list) const;
  void score(size_t head, const Scratch& s) const;
  size_t collect(size_t head, Wanted& wanted, uint32_t* list) const;
  void attend_rest(size_t head, const Scratch& s) const;
  uint32_t keys(float share) const;
  HeadBudget budget(size_t head, const Scratch& s, size_t g) const;
  void rows(size_t head, size_t index, size_t first, size_t n, uint32_t slot) const;
  void attend(size_t head, const kv::RowView& rows, size_t n, uint32_t slot, float* out, float* max,
              float* sum) const;
  void far_piece(size_t head, size_t index, uint32_t slot) const;
  void merge(size_t head) const;
  void measure(size_t head, uint32_t slot) const;
};

/// The list of a KV head: sinks, the window, what centroids choose.
void Selected::select(size_t head, uint32_t slot) const {
  const Scratch s = scratch_at(plan, ws.retrieval_scratch_of(slot));
  const size_t first_head = head * plan.config->group_size();
  const uint32_t count = position + 1, end = far_end(position), first = std::min(kSinks, end);
  uint32_t* list = list_of(head);
  uint32_t* at = list;
  for (uint32_t p = 0; p < first; ++p) *at++ = p;
  for (uint32_t p = end; p < count; ++p) *at++ = p;
  rows(head, 0, 0, near(), slot);
  size_t far = 0;
  if (retrieval.options.selector != nullptr) {
    const Selector::Request request{layer,
                                    static_cast<uint32_t>(head),
                                    position,
                                    ws.q + first_head * padded,
                                    ws.far_q + first_head * padded,
                                    ws.far_band_stride(),
                                    cache.rows(layer, static_cast<uint32_t>(head)),
                                    retrieval.index.ids(layer, static_cast<uint32_t>(head))};
    far = retrieval.options.selector->select(request, first, end, at);
  } else if (end > first) {
    far = choose(head, s, at);
  }
  ws.selected_count[head] = static_cast<uint32_t>(near() + far);
  cache.ask_for(layer, static_cast<uint32_t>(head), {at, far});
  if (has_rest()) attend_rest(head, s);
  if (far == 0) merge(head);
}

/// s.scores: of the means, for every band.
void Selected::score(size_t head, const Scratch& s) const {
  const model::Config& c = *plan.config;
  const size_t n = centroids(head), group = c.group_size(), cells = bands() * n;
  for (uint32_t band = 0; band < bands(); ++band) {
    const ScoreArgs args{ws.far_q + band * ws.far_band_stride() + head * group * padded,
                         padded,
                         retrieval.index.mean_keys(layer, static_cast<uint32_t>(head)),
                         s.scores + band * n,
                         cells,
                         group,
                         n,
                         padded};
    plan.kernels.score->fn(&args);
  }
  if (c.attention_softcap != 0.0f) cap(s.scores, group * cells);
}

/// Far keys that any head of the group wants; s.bias then tells what is left of each cell.
size_t Selected::choose(size_t head, const Scratch& s, uint32_t* list) const {
  const auto kv_head = static_cast<uint32_t>(head);
  const size_t group = plan.config->group_size(), cells = bands() * centroids(head);
  score(head, s);
  const uint32_t* counts = retrieval.index.counts(layer, kv_head);
  const float* log_counts = retrieval.index.log_counts(layer, kv_head);
  for (size_t i = 0; i < cells; ++i) s.bias[i] = counts[i] == 0 ? -INFINITY : log_counts[i];
  WeighArgs all{};
  all.x = s.scores, all.x_stride = cells, all.unit = unit(), all.bias = s.bias;
  all.max = s.top, all.sum = s.mass, all.heads = group, all.n = all.rows = cells, all.scratch = s.weigh;
  plan.kernels.weigh->fn(&all);
  Wanted wanted(plan.kernels.at_least->fn, bands(), centroids(head), s.wanted);
  for (size_t g = 0; g < group; ++g) wanted.add(s.scores + g * cells, counts, budget(head, s, g));
  const size_t count = collect(head, wanted, list);
  for (size_t i = 0; i < cells; ++i) {
    if (wanted.taken(i) == 0) continue;
    const uint32_t left = counts[i] - wanted.taken(i);
    s.bias[i] = left == 0 ? -INFINITY : std::log2(static_cast<float>(left));
  }
  return count;
}

/// Their positions, ascending: the farthest band first.
size_t Selected::collect(size_t head, Wanted& wanted, uint32_t* list) const {
  const auto kv_head = static_cast<uint32_t>(head);
  const uint16_t* ids = retrieval.index.ids(layer, kv_head);
  const auto most = static_cast<uint32_t>(retrieval.options.most_outliers * static_cast<float>(position + 1));
  const uint16_t above =
      std::max(retrieval.outliers_above, above_most(retrieval.index.levels(layer, kv_head), most));
  size_t count = 0;
  uint32_t first = kSinks;
  for (uint32_t band = bands(); band-- > 0;) {
    const uint32_t end = band_end(band, position);
    if (end <= first) continue;
    size_t n = 0;
    const CollectArgs args{ids + first, end - first, wanted.bits(band), above, list + count, first, &n};
    plan.kernels.collect->fn(&args);
    count += wanted.trim(band, ids, above, list + count, n);
    first = end;
  }
  return count;
}

uint32_t Selected::keys(float share) const {
  return keys_within(retrieval.options, share, position);
}

/// A key of a cell with score x weighs 2^(unit x) of all that a head attends to: what is near exactly,
/// far keys by their cells.
HeadBudget Selected::budget(size_t head, const Scratch& s, size_t g) const {
  const RetrievalOptions& o = retrieval.options;
  const size_t h = head * plan.config->group_size() + g;
  const float top = std::max(ws.selected_max[h], s.top[g]);
  const float total =
      ws.selected_sum[h] * std::exp2(ws.selected_max[h] - top) + s.mass[g] * std::exp2(s.top[g] - top);
  const uint32_t most = keys(o.fraction);
  const float mean = total / static_cast<float>(position + 1);
  return {std::min(keys(o.least), most), most, (top + std::log2(o.share * mean)) / unit()};
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

/// What is not listed, into the place behind the far pieces: every cell weighs as many keys as it has left.
void Selected::attend_rest(size_t head, const Scratch& s) const {
  const model::Config& c = *plan.config;
  const auto kv_head = static_cast<uint32_t>(head);
  const size_t n = centroids(head), group = c.group_size();
  const size_t index = 1 + far_pieces(head), h = head * group;
  WeighArgs w{};
  w.x = s.scores, w.x_stride = bands() * n, w.unit = unit();
  w.bias = s.bias;
  w.v = retrieval.index.mean_values(layer, kv_head), w.row_stride = padded * sizeof(uint16_t);
  w.out = ws.selected_partial + index * ws.q_stride + h * padded, w.out_stride = padded;
  w.max = ws.selected_max + index * c.head_count + h;
  w.sum = ws.selected_sum + index * c.head_count + h;
  w.heads = group, w.n = bands() * n, w.rows = n, w.dim = padded;
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

/// Attention over `n` listed rows from the `first` on: piece `index`.
void Selected::rows(size_t head, size_t index, size_t first, size_t n, uint32_t slot) const {
  const size_t heads = plan.config->head_count;
  const kv::Shape& shape = cache.shape();
  const Scratch s = scratch_at(plan, ws.retrieval_scratch_of(slot));
  gather(shape, cache.rows(layer, static_cast<uint32_t>(head)), list_of(head) + first, n, s);
  kv::RowView together{};
  together.k = reinterpret_cast<const uint8_t*>(s.rows), together.v = together.k + shape.half_bytes();
  together.row_stride = shape.half_bytes() * 2;
  if (shape.type == kv::Type::q8) {
    together.k_scale = s.row_scales, together.v_scale = s.row_scales + 1;
    together.scale_stride = 2 * sizeof(float);
  }
  attend(head, together, n, slot, ws.selected_partial + index * ws.q_stride, ws.selected_max + index * heads,
         ws.selected_sum + index * heads);
}

/// All query heads of a KV head over the first `n` rows; `out`, `max` and `sum` as all heads have them.
void Selected::attend(size_t head, const kv::RowView& rows, size_t n, uint32_t slot, float* out, float* max,
                      float* sum) const {
  const model::Config& c = *plan.config;
  const size_t group = c.group_size();
  AttentionArgs a{};
  a.q_token_stride = a.out_token_stride = ws.q_stride, a.q_head_stride = a.out_head_stride = padded;
  a.tokens = 1;
  take_rows(rows, a);
  a.p1 = a.last = n;
  a.d = padded, a.scale = c.attention_scale, a.cap = c.attention_softcap;
  a.scratch = ws.attention_scratch_of(slot);
  for (size_t g = 0; g < group; g += kAttentionRows) {
    const size_t h = head * group + g;
    a.heads = std::min<size_t>(kAttentionRows, group - g);
    a.q = ws.q + h * padded;
    a.out = out + h * padded, a.max = max + h, a.sum = sum + h;
    attention_kernel(plan, cache)->fn(&a);
  }
}

void Selected::far_piece(size_t head, size_t index, uint32_t slot) const {
  const size_t first = near() + index * kPiece;
  rows(head, 1 + index, first, std::min(kPiece, ws.selected_count[head] - first), slot);
  if (ws.selected_done[head].fetch_add(1, std::memory_order_acq_rel) + 1 < far_pieces(head)) return;
  ws.selected_done[head].store(0, std::memory_order_relaxed);
  merge(head);
}

/// In the order of the pieces, whoever came last: the same bits for every number of threads.
void Selected::merge(size_t head) const {
  const model::Config& c = *plan.config;
  const size_t pieces = 1 + far_pieces(head) + (has_rest() ? 1 : 0);
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

/// ws.partial_sum[h], of each query head: the share of exact attention that its listed rows hold.
void Selected::measure(size_t head, uint32_t slot) const {
  const model::Config& c = *plan.config;
  const size_t group = c.group_size(), pieces = 1 + far_pieces(head);
  attend(head, cache.rows(layer, static_cast<uint32_t>(head)), position + 1, slot, ws.partial, ws.partial_max,
         ws.partial_sum);
  for (size_t h = head * group; h < (head + 1) * group; ++h) {
    float share = 0.0f;
    for (size_t i = h; i < pieces * c.head_count; i += c.head_count)
      share += ws.selected_sum[i] * std::exp2(ws.selected_max[i] - ws.partial_max[h]);
    ws.partial_sum[h] = share / ws.partial_sum[h];
  }
}

}  // namespace

size_t retrieval_scratch_bytes(const Plan& plan) {
  return std::max(scratch_at(plan, nullptr).bytes, key_index_scratch_bytes(plan));
}

size_t most_selected_pieces(uint32_t context) {
  return ceil_div(size_t{context}, kPiece) + 2;
}

void choose_outliers(const Plan& plan, Retrieval& retrieval, uint32_t position) {
  const RetrievalOptions& o = retrieval.options;
  uint32_t levels[kv::kLevels] = {};
  uint64_t places = 0;
  for (uint32_t layer = o.dense_layers; layer < plan.layers.size(); ++layer) {
    for (uint32_t head = 0; head < plan.layers[layer].centroid_bias.size(); ++head, ++places) {
      const uint32_t* of_head = retrieval.index.levels(layer, head);
      for (uint32_t level = 0; level < kv::kLevels; ++level) levels[level] += of_head[level];
    }
  }
  const uint64_t each = o.outliers == 0.0f ? 0 : keys_within(o, o.outliers, position, o.few_outliers);
  retrieval.outliers_above = above_most(levels, each * places);
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
    items += selected.far_pieces(h);
  }
  retrieval.counts.seen += uint64_t{c.kv_head_count} * (chunk.position + 1);
  pool.parallel_for_each(items, [&](size_t begin, size_t end, uint32_t slot) {
    for (size_t item = begin; item < end; ++item) {
      size_t head = 0, index = item;
      while (index >= selected.far_pieces(head)) index -= selected.far_pieces(head++);
      selected.far_piece(head, index, slot);
    }
  });
  pack_heads(ws.attn, c.head_count, c.head_dim, selected.padded);
  if (!retrieval.options.measure) return;
  pool.parallel_for_each(c.kv_head_count, [&](size_t begin, size_t end, uint32_t slot) {
    for (size_t head = begin; head < end; ++head) selected.measure(head, slot);
  });
  for (size_t h = 0; h < c.head_count; ++h) retrieval.counts.weight += double{ws.partial_sum[h]};
  retrieval.counts.weighed += c.head_count;
}

}  // namespace minnow::exec
