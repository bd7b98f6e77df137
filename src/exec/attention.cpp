#include "exec/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

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

void pack_heads(float* row, size_t heads, size_t dim, size_t padded) {
  if (dim == padded) return;
  for (size_t h = 0; h < heads; ++h) std::memmove(row + h * dim, row + h * padded, dim * sizeof(float));
  std::fill(row + heads * dim, row + heads * padded, 0.0f);
}

void norm_heads(const model::KernelSet& kernels, const model::NormWeights& w, float eps, float* row,
                size_t heads, size_t dim) {
  const NormArgs args{row, dim, w.weight, w.bias, row, dim, heads, dim, eps};
  kernels.rms_norm->fn(&args);
}

}  // namespace

void fill_rope_tables(const model::Plan& plan, const Workspace& ws, uint32_t context, uint32_t position,
                      size_t m) {
  const auto& ropes = plan.config->ropes;
  const size_t half = ws.rotary_half;
  for (size_t r = 0; r < ropes.size(); ++r) {
    const bool is_long = !ropes[r].inv_freq_long.empty() && context > ropes[r].original_context;
    const auto& inv_freq = is_long ? ropes[r].inv_freq_long : ropes[r].inv_freq;
    for (size_t t = 0; t < m; ++t) {
      float* cosine = ws.cosine + (r * ws.chunk + t) * half;
      float* sine = ws.sine + (r * ws.chunk + t) * half;
      for (size_t j = 0; j < half; ++j) {
        // The product is rounded to f32 as in the models' training code; at position 8,000 the
        // rounding is worth half a milliradian, and the weights have learned with it.
        const float angle = static_cast<float>(position + t) * inv_freq[j];
        cosine[j] = static_cast<float>(std::cos(double{angle})) * ropes[r].attention_factor;
        sine[j] = static_cast<float>(std::sin(double{angle})) * ropes[r].attention_factor;
      }
    }
  }
}

void rotate_and_store(const model::Plan& plan, const Workspace& ws, ThreadPool& pool, kv::Cache& cache,
                      uint32_t layer, uint32_t position, size_t m) {
  const model::Config& c = *plan.config;
  const model::LayerWeights& w = *plan.layers[layer].weights;
  const size_t dim = c.head_dim, padded = cache.shape().padded_dim();
  const bool full = c.qk_norm == format::QkNorm::full;
  pool.parallel_for(m, 4, [&](size_t t0, size_t t1, uint32_t) {
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
      if (w.rope != nullptr) {
        const size_t table = (static_cast<size_t>(w.rope - c.ropes.data()) * ws.chunk + t) * ws.rotary_half;
        const RopeArgs rope_q{q, padded, c.head_count, c.rotary_dim, ws.cosine + table, ws.sine + table};
        const RopeArgs rope_k{k, padded, c.kv_head_count, c.rotary_dim, ws.cosine + table, ws.sine + table};
        plan.kernels.rope->fn(&rope_q);
        plan.kernels.rope->fn(&rope_k);
      }
      for (uint32_t h = 0; h < c.kv_head_count; ++h) {
        cache.write(layer, h, position + static_cast<uint32_t>(t), k + h * padded, v + h * padded,
                    plan.kernels);
      }
    }
  });
}

void attend(const model::Plan& plan, const Workspace& ws, ThreadPool& pool, const kv::Cache& cache,
            uint32_t layer, uint32_t position, size_t m) {
  const model::Config& c = *plan.config;
  const model::KernelSet& kernels = plan.kernels;
  const uint32_t window = plan.layers[layer].weights->sliding_window;
  const size_t padded = cache.shape().padded_dim(), group = c.group_size();
  const kv::Type type = cache.shape().type;
  const auto* qk = type == kv::Type::f32   ? kernels.qk_f32
                   : type == kv::Type::f16 ? kernels.qk_f16
                                           : kernels.qk_q8;
  const auto* pv = type == kv::Type::f32   ? kernels.pv_f32
                   : type == kv::Type::f16 ? kernels.pv_f16
                                           : kernels.pv_q8;

  // One item: the query heads of one KV head, for one token. They share every K and V row.
  const size_t items = m * c.kv_head_count;
  const bool small = items * group * (position + m) * padded < (size_t{1} << 15);  // not worth waking threads
  pool.parallel_for(items,
                    small   ? items
                    : m > 1 ? 8
                            : 1,
                    [&](size_t begin, size_t end, uint32_t slot) {
                      float* scores = ws.scores_of(slot);  // (group, rows seen)
                      for (size_t item = begin; item < end; ++item) {
                        const size_t h = item / m,
                                     t = item % m;  // neighbours in time share the rows in cache
                        const size_t last = position + t + 1;
                        const size_t first = window != 0 && last > window ? last - window : 0;
                        const size_t seen = last - first;
                        const kv::RowView rows = cache.rows(layer, static_cast<uint32_t>(h));

                        AttentionQkArgs dots{};
                        dots.q = ws.q + t * ws.q_stride + h * group * padded, dots.q_stride = padded;
                        dots.k = rows.k + first * rows.row_stride, dots.row_stride = rows.row_stride;
                        if (rows.k_scale != nullptr)
                          dots.row_scales = rows.k_scale + first * (rows.scale_stride / sizeof(float));
                        dots.row_scale_stride = rows.scale_stride;
                        dots.p0 = 0, dots.p1 = seen, dots.heads = group, dots.d = padded;
                        dots.scale = c.attention_scale;
                        dots.scores = scores, dots.scores_stride = seen;
                        qk->fn(&dots);

                        const SoftmaxArgs soft{scores, seen, group, seen, c.attention_softcap};
                        kernels.softmax->fn(&soft);

                        AttentionPvArgs sum{};
                        sum.w = scores, sum.w_stride = seen;
                        sum.v = rows.v + first * rows.row_stride, sum.row_stride = rows.row_stride;
                        if (rows.v_scale != nullptr)
                          sum.row_scales = rows.v_scale + first * (rows.scale_stride / sizeof(float));
                        sum.row_scale_stride = rows.scale_stride;
                        sum.p0 = 0, sum.p1 = seen, sum.heads = group, sum.d = padded;
                        sum.out = ws.attn + t * ws.q_stride + h * group * padded, sum.out_stride = padded;
                        pv->fn(&sum);
                      }
                    });
  for (size_t t = 0; t < m; ++t) pack_heads(ws.attn + t * ws.q_stride, c.head_count, c.head_dim, padded);
}

}  // namespace minnow::exec
