#include "exec/key_index.h"

#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "exec/bands.h"
#include "exec/quantised_linear.h"

namespace minnow::exec {
namespace {

using model::Codebook;
using model::Plan;

/// Keys whose centroids are sought at a time: their scores stay in the second-level cache.
constexpr size_t kKeyRows = 32;

/// A thread's scratch, carved out of ws.retrieval_scratch.
struct Scratch {
  float* vectors;      // (kKeyRows, padded)      keys in the metric of the codebook
  int8_t* codes;       // (kKeyRows, code_stride)
  float *scales, *zs;  // (kKeyRows, group_stride)
  int32_t* sums;       // (kKeyRows, group_stride)
  float* scores;       // (kKeyRows, centroids)
  size_t code_stride, group_stride, bytes;
};

Scratch scratch_at(const Plan& plan, std::byte* base) {
  const size_t padded = round_up(size_t{plan.config->head_dim}, size_t{format::kChannelPadding});
  const size_t groups = (padded + 127) / 128;
  Scratch s{};
  s.code_stride = round_up(padded, kInputPadding);
  s.group_stride = round_up(groups, kInputGroupPadding);
  size_t used = 0;
  const auto take = [&](auto*& slot, size_t count) {
    using T = std::remove_reference_t<decltype(*slot)>;
    slot = reinterpret_cast<T*>(base + used);
    used = round_up(used + count * sizeof(T), size_t{64});
  };
  take(s.vectors, kKeyRows * padded);
  take(s.codes, kKeyRows * s.code_stride);
  take(s.scales, kKeyRows * s.group_stride);
  take(s.zs, kKeyRows * s.group_stride);
  take(s.sums, kKeyRows * s.group_stride);
  take(s.scores, kKeyRows * plan.centroids);
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

/// Eight levels an octave, so that few keys share the one that a selection ends in; of 1, the model's mean
/// |c|^2, the 40th.
uint32_t level(float distance) {
  const float level = 8.0f * std::log2(distance) + 40.0f;
  return level >= 0.0f ? static_cast<uint32_t>(std::min(level, kv::kLevels - 1.0f)) : 0;  // NaN: 0
}

/// Ids of keys in s.vectors with their products with centroids in s.scores.
void nearest(const Plan& plan, const model::PlanLayer& layer, size_t head, const Scratch& s, size_t rows,
             uint16_t* ids) {
  const auto& bias = layer.centroid_bias[head];
  const NearestArgs args{s.scores, bias.size(), bias.data(), ids, 1, rows, bias.size()};
  plan.kernels.nearest->fn(&args);
  const size_t padded = round_up(size_t{plan.config->head_dim}, size_t{format::kChannelPadding});
  for (size_t r = 0; r < rows; ++r) {
    const float* z = s.vectors + r * padded;
    float square = 0.0f;
    for (size_t i = 0; i < padded; ++i) square += z[i] * z[i];
    const float distance = square - 2.0f * (s.scores[r * bias.size() + ids[r]] + bias[ids[r]]);
    ids[r] |= static_cast<uint16_t>(level(distance / plan.centroid_square) << kv::kCentroidBits);
  }
}

/// Makes tables of a rotation those of its inverse; what a rope scales by is taken off once: keys were scaled
/// when they were rotated, and keep that.
void turn_back(const Plan& plan, const Workspace& ws, size_t m) {
  for (size_t r = 0; r < plan.config->ropes.size(); ++r) {
    const float unit = 1.0f / plan.config->ropes[r].attention_factor;
    float* cosine = ws.cosine + r * ws.chunk * ws.rotary_half;
    float* sine = ws.sine + r * ws.chunk * ws.rotary_half;
    for (size_t i = 0; i < m * ws.rotary_half; ++i) cosine[i] *= unit, sine[i] *= -unit;
  }
}

/// Counts the key of one position, and takes it and its value into the means of its centroid. As it comes out
/// of the window, other keys come out of their bands.
struct FarKeys {
  const Plan& plan;
  const Workspace& ws;
  const kv::Cache& cache;
  kv::Index& index;
  uint32_t first;  // position of the rope tables' beginning
  uint32_t far;    // where far keys begin

  void count(uint32_t layer, uint32_t head, uint32_t position, float* row) const;
  void add(uint32_t layer, uint32_t head, uint32_t band, uint16_t id, uint32_t n) const;
};

/// Keys of a cell; `n` may be -1.
void FarKeys::add(uint32_t layer, uint32_t head, uint32_t band, uint16_t id, uint32_t n) const {
  const size_t cell = size_t{band} * index.shape().centroids + id;
  const uint32_t count = index.counts(layer, head)[cell] += n;
  if (count != 0) index.log_counts(layer, head)[cell] = std::log2(static_cast<float>(count));
}

void FarKeys::count(uint32_t layer, uint32_t head, uint32_t position, float* row) const {
  const size_t padded = cache.shape().padded_dim();
  float *k = row, *v = row + padded;
  kv::read_row(cache.rows(layer, head), cache.shape().type, position, cache.shape().padded_dim(),
               plan.kernels, k, v);
  if (const format::Rope* rope = plan.layers[layer].weights->rope; rope != nullptr) {
    const size_t table =
        (static_cast<size_t>(rope - plan.config->ropes.data()) * ws.chunk + position - first) *
        ws.rotary_half;
    const RopeArgs back{k, padded, 1, plan.config->rotary_dim, ws.cosine + table, ws.sine + table};
    plan.kernels.rope->fn(&back);
  }
  const uint16_t* ids = index.ids(layer, head);
  const uint16_t id = kv::centroid_of(ids[position]);
  ++index.levels(layer, head)[kv::level_of(ids[position])];
  add(layer, head, 0, id, 1);
  for (uint32_t band = 1; band < std::min(index.shape().bands, kMostBands); ++band) {
    const uint32_t back = kBands[band] - kBands[0];
    if (position < far + back) break;
    const uint16_t moved = kv::centroid_of(ids[position - back]);
    add(layer, head, band - 1, moved, UINT32_MAX), add(layer, head, band, moved, 1);
  }
  float count = 0.0f;
  for (size_t cell = id; cell < index.shape().cells(); cell += index.shape().centroids)
    count += static_cast<float>(index.counts(layer, head)[cell]);
  const size_t panel = id / kScorePanel * padded * kScorePanel + id % kScorePanel;
  const MeanArgs key{index.mean_keys(layer, head) + panel, kScorePanel, k, padded, 1.0f / count};
  const MeanArgs value{index.mean_values(layer, head) + size_t{id} * padded, 1, v, padded, 1.0f / count};
  plan.kernels.mean->fn(&key);
  plan.kernels.mean->fn(&value);
}

}  // namespace

kv::IndexShape index_shape(const Plan& plan, uint32_t context) {
  const model::Config& c = *plan.config;
  return {static_cast<uint32_t>(plan.layers.size()),
          c.kv_head_count,
          context,
          plan.centroids,
          static_cast<uint32_t>(round_up(size_t{c.head_dim}, size_t{format::kChannelPadding})),
          bands_of(context)};
}

size_t key_index_scratch_bytes(const Plan& plan) {
  return scratch_at(plan, nullptr).bytes;
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

void count_far_keys(const Plan& plan, const Workspace& ws, ThreadPool& pool, const kv::Cache& cache,
                    kv::Index& index, uint32_t first, uint32_t end) {
  if (index.counted() > end) index.forget_counts();
  const auto layers = static_cast<uint32_t>(plan.layers.size()), heads = plan.config->kv_head_count;
  for (uint32_t at = std::max(index.counted(), first); at < end;) {
    const uint32_t m = std::min(ws.chunk, end - at);
    fill_rope_tables(plan, ws, cache.shape().context, {at, m});
    turn_back(plan, ws, m);
    const FarKeys far{plan, ws, cache, index, at, first};
    pool.parallel_for(size_t{layers} * heads, 1, [&](size_t begin, size_t stop, uint32_t slot) {
      auto* row = reinterpret_cast<float*>(ws.retrieval_scratch_of(slot));
      for (size_t item = begin; item < stop; ++item) {
        const auto layer = static_cast<uint32_t>(item / heads), head = static_cast<uint32_t>(item % heads);
        if (plan.layers[layer].centroid_bias.empty()) continue;
        for (uint32_t t = 0; t < m; ++t) far.count(layer, head, at + t, row);
      }
    });
    index.set_counted(at += m);
  }
}

}  // namespace minnow::exec
