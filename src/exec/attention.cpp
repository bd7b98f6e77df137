#include "exec/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/checked.h"
#include "exec/bands.h"

namespace minnow::exec {
namespace {

/// Heads arrive packed, `dim` floats each; kernels want them `padded` apart with zeros between.
void spread_heads(float* row, size_t heads, size_t dim, size_t padded) {
  if (dim == padded) return;
  for (size_t h = heads; h-- > 0;) {
    std::memmove(row + h * padded, row + h * dim, dim * sizeof(float));
    std::fill(row + h * padded + dim, row + (h + 1) * padded, 0.0f);
  }
}

void norm_heads(const model::KernelSet& kernels, const model::NormWeights& w, float eps, float* row,
                size_t heads, size_t dim) {
  const NormArgs args{row, dim, w.weight, w.bias, row, dim, heads, dim, eps};
  kernels.rms_norm->fn(&args);
}

/// A key as it is before rotation; what a rope scales both sides by stays with it.
void keep_far_key(const model::Plan& plan, const Workspace& ws, const model::LayerWeights& w, size_t t) {
  const model::Config& c = *plan.config;
  const size_t padded = round_up(size_t{c.head_dim}, size_t{format::kChannelPadding});
  float* far = ws.far_k + t * ws.kv_stride;
  std::copy_n(ws.k + t * ws.kv_stride, c.kv_head_count * padded, far);
  if (w.rope == nullptr || w.rope->attention_factor == 1.0f) return;
  for (size_t h = 0; h < c.kv_head_count; ++h) {
    for (size_t i = 0; i < c.rotary_dim; ++i) far[h * padded + i] *= w.rope->attention_factor;
  }
}

/// A query as seen by the keys of a band.
void keep_far_query(const model::Plan& plan, const Workspace& ws, const model::LayerWeights& w, uint32_t band,
                    size_t t) {
  const model::Config& c = *plan.config;
  const size_t padded = round_up(size_t{c.head_dim}, size_t{format::kChannelPadding});
  float* far = ws.far_q + band * ws.far_band_stride() + t * ws.q_stride;
  std::copy_n(ws.q + t * ws.q_stride, c.head_count * padded, far);
  if (w.rope == nullptr) return;
  const size_t rope = static_cast<size_t>(w.rope - c.ropes.data());
  const size_t table = (band * c.ropes.size() + rope) * ws.rotary_half;
  const RopeArgs rotate{far, padded, c.head_count, c.rotary_dim, ws.far_cosine + table, ws.far_sine + table};
  plan.kernels.rope->fn(&rotate);
}

constexpr size_t kMaxPieceTokens = 64;  // pieces times tokens
constexpr size_t kMinPiece = 256;       // positions; what a piece costs beside them is then below a percent
constexpr size_t kWorthSharing = size_t{1} << 17;  // multiplications: about a microsecond of one core

/// How a chunk's attention is cut into calls of the kernel. A unit is up to kAttentionRows query rows that
/// share a KV head; a piece is a range of positions.
struct Cut {
  size_t kv_heads, heads, head_parts;  // heads of a unit, and how many units a group of heads makes
  size_t tokens, token_parts;          // tokens of a unit, and how many units they make
  size_t first, end, length, pieces;   // positions: all, of a piece
  size_t units() const { return kv_heads * head_parts * token_parts; }
};

Cut cut_attention(const model::Config& c, uint32_t window, uint32_t position, size_t m) {
  Cut cut{};
  cut.kv_heads = c.kv_head_count;
  cut.heads = std::min<size_t>(c.group_size(), kAttentionRows);
  cut.head_parts = (c.group_size() + cut.heads - 1) / cut.heads;
  cut.tokens = std::min(m, kAttentionRows / cut.heads);
  cut.token_parts = (m + cut.tokens - 1) / cut.tokens;
  // Tiles start at multiples of kAttentionTile, so that rounding inside a tile is the same for every chunk.
  if (window != 0 && position + 1 > window)
    cut.first = (position + 1 - window) / kAttentionTile * kAttentionTile;
  cut.end = position + m;
  const size_t most = std::max<size_t>(1, kMaxPieceTokens / m);
  const size_t even = (cut.end - cut.first + most - 1) / most;
  cut.length = most == 1 ? even : std::max(kMinPiece, round_up(even, size_t{kAttentionTile}));
  cut.pieces = (cut.end - cut.first + cut.length - 1) / cut.length;
  return cut;
}

/// One layer's attention of a chunk.
struct Attention {
  const model::Plan& plan;
  const Workspace& ws;
  const kv::Cache& cache;
  uint32_t layer, position;
  size_t m;
  Cut cut;

  void run(size_t item, uint32_t slot) const;
  void merge(size_t t0, size_t tokens, size_t head, size_t heads, size_t row) const;
};

/// Item: a unit's piece, pieces of a unit side by side and token tiles of a head one after the other, so that
/// what threads read at a time is close together.
void Attention::run(size_t item, uint32_t slot) const {
  const model::Config& c = *plan.config;
  const size_t padded = cache.shape().padded_dim(), group = c.group_size();
  const size_t piece = item % cut.pieces, unit = item / cut.pieces;
  const size_t t0 = unit % cut.token_parts * cut.tokens;
  const size_t part = unit / cut.token_parts % cut.head_parts;
  const size_t kv_head = unit / cut.token_parts / cut.head_parts;
  const size_t g0 = part * cut.heads, heads = std::min(cut.heads, group - g0);
  const size_t tokens = std::min(cut.tokens, m - t0);
  const size_t head = kv_head * group + g0;
  const size_t row = head * m + t0 * heads;  // of partial_max and partial_sum, in a piece
  const uint32_t window = plan.layers[layer].weights->sliding_window;

  AttentionArgs a{};
  a.q = ws.q + t0 * ws.q_stride + head * padded;
  a.q_token_stride = ws.q_stride, a.q_head_stride = padded;
  a.tokens = tokens, a.heads = heads;
  take_rows(cache.rows(layer, static_cast<uint32_t>(kv_head)), a);
  a.last = position + t0 + 1;
  a.window = window;
  a.p0 = cut.first + piece * cut.length;
  a.p1 = std::min(a.p0 + cut.length, cut.end);
  if (cut.pieces == 1) {  // only what these tokens see
    if (window != 0 && a.last > window) a.p0 = (a.last - window) / kAttentionTile * kAttentionTile;
    a.p1 = position + t0 + tokens;
  }
  a.d = padded;
  a.scale = c.attention_scale, a.cap = c.attention_softcap;
  a.out_token_stride = ws.q_stride, a.out_head_stride = padded;
  a.scratch = ws.attention_scratch_of(slot);
  if (cut.pieces == 1) {
    a.out = ws.attn + t0 * ws.q_stride + head * padded;
  } else {
    a.out = ws.partial + (piece * m + t0) * ws.q_stride + head * padded;
    a.max = ws.partial_max + piece * m * c.head_count + row;
    a.sum = ws.partial_sum + piece * m * c.head_count + row;
  }
  attention_kernel(plan, cache)->fn(&a);
  if (cut.pieces == 1) return;
  // Whoever is last with a unit puts its pieces together.
  if (ws.pieces_done[unit].fetch_add(1, std::memory_order_acq_rel) + 1 < cut.pieces) return;
  ws.pieces_done[unit].store(0, std::memory_order_relaxed);
  merge(t0, tokens, head, heads, row);
}

/// attn = sum over pieces of share * partial, where share is the piece's part of all weights. In the order of
/// the pieces, whoever came last.
void Attention::merge(size_t t0, size_t tokens, size_t head, size_t heads, size_t row) const {
  const size_t padded = cache.shape().padded_dim(), rows = m * plan.config->head_count;
  for (size_t r = 0; r < tokens * heads; ++r) {
    const float *max = ws.partial_max + row + r, *sum = ws.partial_sum + row + r;
    const size_t at = (t0 + r / heads) * ws.q_stride + (head + r % heads) * padded;
    float top = max[0], total = 0.0f, share[kMaxPieceTokens];
    for (size_t i = 1; i < cut.pieces; ++i) top = std::max(top, max[i * rows]);
    for (size_t i = 0; i < cut.pieces; ++i)
      total += share[i] = sum[i * rows] * std::exp2(max[i * rows] - top);
    for (size_t i = 0; i < cut.pieces; ++i) {
      const AxpyArgs add{ws.partial + i * m * ws.q_stride + at, ws.attn + at, padded, share[i] / total,
                         i == 0 ? 0.0f : 1.0f};
      plan.kernels.axpy->fn(&add);
    }
  }
}

/// Every token over the rows of its own sequence.
void attend_each(const model::Plan& plan, const Workspace& ws, ThreadPool& pool, const kv::Cache& cache,
                 uint32_t layer, const Chunk& chunk) {
  const model::Config& c = *plan.config;
  const size_t padded = cache.shape().padded_dim(), group = c.group_size();
  const uint32_t window = plan.layers[layer].weights->sliding_window;
  pool.parallel_for(chunk.m * c.kv_head_count, 1, [&](size_t begin, size_t end, uint32_t slot) {
    for (size_t item = begin; item < end; ++item) {
      const size_t t = item / c.kv_head_count, kv_head = item % c.kv_head_count;
      AttentionArgs a{};
      take_rows(cache.rows(chunk.cache_layer(layer, t), static_cast<uint32_t>(kv_head)), a);
      a.tokens = 1, a.last = chunk.position + 1, a.window = window;
      if (window != 0 && a.last > window) a.p0 = (a.last - window) / kAttentionTile * kAttentionTile;
      a.p1 = a.last;
      a.d = padded, a.scale = c.attention_scale, a.cap = c.attention_softcap;
      a.q_token_stride = a.out_token_stride = ws.q_stride, a.q_head_stride = a.out_head_stride = padded;
      a.scratch = ws.attention_scratch_of(slot);
      for (size_t g = 0; g < group; g += kAttentionRows) {
        const size_t at = t * ws.q_stride + (kv_head * group + g) * padded;
        a.heads = std::min<size_t>(kAttentionRows, group - g);
        a.q = ws.q + at, a.out = ws.attn + at;
        attention_kernel(plan, cache)->fn(&a);
      }
    }
  });
}

}  // namespace

void take_rows(const kv::RowView& rows, AttentionArgs& a) {
  a.k = rows.k, a.v = rows.v, a.row_stride = rows.row_stride;
  a.k_scales = rows.k_scale, a.v_scales = rows.v_scale, a.scale_stride = rows.scale_stride;
}

const AttentionKernel* attention_kernel(const model::Plan& plan, const kv::Cache& cache) {
  const kv::Type type = cache.shape().type;
  return type == kv::Type::f32   ? plan.kernels.attention_f32
         : type == kv::Type::f16 ? plan.kernels.attention_f16
                                 : plan.kernels.attention_q8;
}

void pack_heads(float* row, size_t heads, size_t dim, size_t padded) {
  if (dim == padded) return;
  for (size_t h = 0; h < heads; ++h) std::memmove(row + h * dim, row + h * padded, dim * sizeof(float));
  std::fill(row + heads * dim, row + heads * padded, 0.0f);
}

size_t most_piece_tokens(uint32_t context) {
  const size_t pieces = (context + kMinPiece - 1) / kMinPiece;
  return pieces < 2 ? 0 : std::min(kMaxPieceTokens, pieces * (kMaxPieceTokens / 2));
}

static const std::vector<float>& frequencies(const format::Rope& rope, uint32_t context) {
  const bool is_long = !rope.inv_freq_long.empty() && context > rope.original_context;
  return is_long ? rope.inv_freq_long : rope.inv_freq;
}

/// The cosines and sines of one position.
static void fill_rope(const format::Rope& rope, uint32_t context, uint32_t position, size_t half,
                      float* cosine, float* sine) {
  const auto& inv_freq = frequencies(rope, context);
  for (size_t j = 0; j < half; ++j) {
    // The product is rounded to f32 as in the models' training code; at position 8,000 the
    // rounding is worth half a milliradian, and the weights have learned with it.
    const float angle = static_cast<float>(position) * inv_freq[j];
    cosine[j] = static_cast<float>(std::cos(double{angle})) * rope.attention_factor;
    sine[j] = static_cast<float>(std::sin(double{angle})) * rope.attention_factor;
  }
}

void fill_rope_tables(const model::Plan& plan, const Workspace& ws, uint32_t context, const Chunk& chunk) {
  const auto& ropes = plan.config->ropes;
  const size_t half = ws.rotary_half;
  for (size_t r = 0; r < ropes.size(); ++r) {
    for (size_t t = 0; t < chunk.m; ++t) {
      const size_t at = (r * ws.chunk + t) * half;
      fill_rope(ropes[r], context, chunk.position_of(t), half, ws.cosine + at, ws.sine + at);
    }
  }
}

/// Means of the cosines and sines over distances [first, end): e^(iwd) sums up to a middle one times a ratio
/// of sines.
static void fill_mean_rope(const format::Rope& rope, uint32_t context, uint32_t first, uint32_t end,
                           size_t half, float* cosine, float* sine) {
  const auto& inv_freq = frequencies(rope, context);
  const double n = end - first, middle = first + 0.5 * (n - 1.0);
  for (size_t j = 0; j < half; ++j) {
    const double w = double{inv_freq[j]}, one = std::sin(0.5 * w);
    const double size = std::fabs(one) < 1e-12 ? 1.0 : std::sin(0.5 * n * w) / (n * one);
    cosine[j] = static_cast<float>(size * std::cos(w * middle)) * rope.attention_factor;
    sine[j] = static_cast<float>(size * std::sin(w * middle)) * rope.attention_factor;
  }
}

void fill_far_rope_tables(const model::Plan& plan, const Workspace& ws, uint32_t context, uint32_t position) {
  const auto& ropes = plan.config->ropes;
  for (uint32_t band = 0; band < bands_of(position + 1); ++band) {
    const uint32_t end = band + 1 < kMostBands ? std::min(kBands[band + 1], position + 1) : position + 1;
    if (end <= kBands[band]) continue;  // all is in the window
    for (size_t r = 0; r < ropes.size(); ++r) {
      const size_t at = (band * ropes.size() + r) * ws.rotary_half;
      fill_mean_rope(ropes[r], context, kBands[band], end, ws.rotary_half, ws.far_cosine + at,
                     ws.far_sine + at);
    }
  }
}

void fill_far_rope_tables_at(const model::Plan& plan, const Workspace& ws, uint32_t context,
                             uint32_t distance) {
  const auto& ropes = plan.config->ropes;
  for (size_t r = 0; r < ropes.size(); ++r) {
    const size_t at = r * ws.rotary_half;
    fill_rope(ropes[r], context, distance, ws.rotary_half, ws.far_cosine + at, ws.far_sine + at);
  }
}

void rotate_and_store(const model::Plan& plan, const Workspace& ws, ThreadPool& pool, kv::Cache& cache,
                      uint32_t layer, const Chunk& chunk, FarRows far) {
  const model::Config& c = *plan.config;
  const model::LayerWeights& w = *plan.layers[layer].weights;
  const size_t dim = c.head_dim, padded = cache.shape().padded_dim();
  const bool full = c.qk_norm == format::QkNorm::full;
  pool.parallel_for(chunk.m, 4, [&](size_t t0, size_t t1, uint32_t) {
    for (size_t t = t0; t < t1; ++t) {
      float* q = ws.q + t * ws.q_stride;   // (heads, head_dim)
      float* k = ws.k + t * ws.kv_stride;  // (kv_heads, head_dim)
      float* v = ws.v + t * ws.kv_stride;  // (kv_heads, head_dim)
      if (w.q_norm.present()) {
        norm_heads(plan.kernels, w.q_norm, c.norm_eps, q, full ? 1 : c.head_count, full ? c.q_size() : dim);
        norm_heads(plan.kernels, w.k_norm, c.norm_eps, k, full ? 1 : c.kv_head_count,
                   full ? c.kv_size() : dim);
      }
      spread_heads(q, c.head_count, dim, padded);
      spread_heads(k, c.kv_head_count, dim, padded);
      spread_heads(v, c.kv_head_count, dim, padded);
      if (far.keys) keep_far_key(plan, ws, w, t);
      for (uint32_t band = 0; band < far.bands; ++band) keep_far_query(plan, ws, w, band, t);
      if (w.rope != nullptr) {
        const size_t table = (static_cast<size_t>(w.rope - c.ropes.data()) * ws.chunk + t) * ws.rotary_half;
        const RopeArgs rope_q{q, padded, c.head_count, c.rotary_dim, ws.cosine + table, ws.sine + table};
        const RopeArgs rope_k{k, padded, c.kv_head_count, c.rotary_dim, ws.cosine + table, ws.sine + table};
        plan.kernels.rope->fn(&rope_q);
        plan.kernels.rope->fn(&rope_k);
      }
      for (uint32_t h = 0; h < c.kv_head_count; ++h) {
        cache.write(chunk.cache_layer(layer, t), h, chunk.position_of(t), k + h * padded, v + h * padded,
                    plan.kernels);
      }
    }
  });
}

void attend(const model::Plan& plan, const Workspace& ws, ThreadPool& pool, const kv::Cache& cache,
            uint32_t layer, const Chunk& chunk) {
  const model::Config& c = *plan.config;
  const size_t m = chunk.m, padded = cache.shape().padded_dim();
  if (chunk.lockstep) {
    attend_each(plan, ws, pool, cache, layer, chunk);
  } else {
    const Cut cut = cut_attention(c, plan.layers[layer].weights->sliding_window, chunk.position, m);
    const Attention attention{plan, ws, cache, layer, chunk.position, m, cut};
    const size_t items = cut.units() * cut.pieces;
    const bool small = m * c.head_count * (chunk.position + m - cut.first) * padded < kWorthSharing;
    pool.parallel_for(items, small ? items : 1, [&](size_t begin, size_t end, uint32_t slot) {
      for (size_t item = begin; item < end; ++item) attention.run(item, slot);
    });
  }
  for (size_t t = 0; t < m; ++t) pack_heads(ws.attn + t * ws.q_stride, c.head_count, c.head_dim, padded);
}

}  // namespace minnow::exec
