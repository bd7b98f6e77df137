// The body of the SIMD variants. Per tile of positions: K is transposed into lanes of positions, V
// interleaved into lanes of dimensions, both so that a 32-bit lane holds what one integer dot product takes;
// then blocks of up to eight query rows are scored, weighed and summed while the tile is in the first-level
// cache. Rows share the tile, so its preparation is paid once for all heads and tokens of the call.
#pragma once

#include "kernels/attention/tile.h"
#include "kernels/common/unroll.h"

namespace {

// scores[r] of rows [row, row + R), times ks but not the row's factor, and their largest, for positions below
// `count`; what lies behind in the last vectors is whatever the tile held.
template <class T, int R>
static MINNOW_APART void attention_scores(AttentionJob<T>* job, size_t row, size_t r0, size_t count,
                                          float* top) {
  typedef typename T::Acc Acc;
  const size_t dwords = job->dwords;
  VecF largest[R];
  unroll<0, R>([&](auto r) __attribute__((always_inline)) { largest[r] = v_set1(-INFINITY); });
  for (size_t at = 0; at < count; at += T::kVecs * kLanes) {
    const uint32_t* k = job->k_tile + at * dwords;
    const uint32_t* q = job->queries + (row + r0) * dwords;
    Acc acc[R][T::kVecs];
    unroll_block<R, T::kVecs>([&](auto r, auto v) __attribute__((always_inline)) {
      acc[r][v] = T::start(job->start[row + r0 + (size_t)r]);
    });
    for (size_t i = 0; i < dwords; ++i) {
      typename T::Lanes keys[T::kVecs];
      unroll<0, T::kVecs>([&](auto v) __attribute__((always_inline)) { keys[v] = T::load(k + v * kLanes); });
      unroll<0, R>([&](auto r) __attribute__((always_inline)) {
        const typename T::Lanes query = T::spread(q + (size_t)r * dwords + i);
        unroll<0, T::kVecs>([&](auto v) __attribute__((always_inline)) {
          acc[r][v] = T::dot_k(acc[r][v], keys[v], query);
        });
      });
      k += T::kVecs * kLanes;
    }
    unroll<0, T::kVecs>([&](auto v) __attribute__((always_inline)) {
      const size_t p = at + (size_t)v * kLanes;
      const VecF scale = T::kRounded ? v_load(job->k_scales + p) : v_set1(1.0f);
      unroll<0, R>([&](auto r) __attribute__((always_inline)) {
        VecF x = T::to_float(acc[r][v]);
        if (T::kRounded) x = v_mul(x, scale);
        v_store(job->scores + (r0 + (size_t)r) * T::kPositions + p, x);
        largest[r] = v_max(x, largest[r]);
      });
    });
  }
  unroll<0, R>([&](auto r) __attribute__((always_inline)) { top[r0 + (size_t)r] = v_hmax(largest[r]); });
}

// For rows with a cap or with positions of this tile they do not see: caps, masks by minus infinity, and
// returns the largest again.
template <class T>
static MINNOW_APART float attention_mask(const AttentionJob<T>* job, float* x, float* factor, size_t low,
                                         size_t high) {
  const float cap = job->args->cap;
  VecF largest = v_set1(-INFINITY);
  float index[kLanes];
  for (size_t lane = 0; lane < kLanes; ++lane) index[lane] = (float)lane;
  for (size_t i = 0; i < T::kPositions; i += kLanes) {
    VecF v = v_load(x + i);
    if (cap != 0.0f) {
      const float log2e = 1.44269504f;
      v = v_mul(v, v_set1(*factor / (cap * log2e)));
      v = v_mul(v_set1(cap * log2e), v_tanh(v));
    }
    const VecF at = v_add(v_load(index), v_set1((float)i));
    v = v_if_less(at, v_set1((float)high), v, v_set1(-INFINITY));
    v = v_if_less(at, v_set1((float)low), v_set1(-INFINITY), v);
    v_store(x + i, v);
    largest = v_max(v, largest);
  }
  if (cap != 0.0f) *factor = 1.0f;
  return v_hmax(largest);
}

// The weights of n rows from their scores, as the products with V take them; step[r] is what a unit of them
// is worth. Adds to the rows' totals, scaled by `keep` first. In two passes over all rows: a row's own chain
// of largest, quotient, products would leave the machine waiting.
template <class T>
static MINNOW_APART void attention_weigh(AttentionJob<T>* job, size_t row, size_t n, const float* factor,
                                         const float* top, const float* keep, float* step) {
  constexpr int kCount = T::kPositions / kLanes;
  float most[kBlockRows];
  for (size_t r = 0; r < n; ++r) {
    float* x = job->scores + r * T::kPositions;
    const VecF scale = v_set1(factor[r]), shift = v_set1(top[r]);
    VecF total = v_zero(), largest = v_zero();
    for (int i = 0; i < kCount; ++i) {
      VecF w = v_exp2_negative(v_fms(v_load(x + i * kLanes), scale, shift));
      total = v_add(total, w);
      if (T::kRounded) {
        w = v_mul(w, v_load(job->v_scales + i * kLanes));
        largest = v_max(w, largest);
      }
      v_store(x + i * kLanes, w);
    }
    float* totals = job->totals + (row + r) * kLanes;
    v_store(totals, v_fma(v_load(totals), v_set1(keep[r]), total));
    if (T::kRounded) most[r] = v_hmax(largest);
  }
  for (size_t r = 0; r < n; ++r) {
    step[r] = T::kRounded ? most[r] * (1.0f / 255.0f) : 1.0f;
    const float inverse = T::kRounded && most[r] >= 0x1p-100f ? 255.0f / most[r] : 0.0f;
    T::store_weights(job->weights + r * T::kPositions, job->scores + r * T::kPositions, v_set1(inverse));
  }
}

// sums[r] = keep[r] * sums[r] + step[r] * weights[r] V, for `vecs` vectors of d from `at` on. Codes come from
// the tile, floats from the rows as they lie: there is nothing to put in order, and a copy as f32 would push
// the rest out of the first-level cache.
template <class T, int R, int kVecs>
static inline void attention_values_at(AttentionJob<T>* job, size_t at, size_t row, size_t r0, size_t count,
                                       const float* keep, const float* step) {
  typedef typename T::Acc Acc;
  // Shifted weights of 0 are not 0: their sums begin with all of the tile.
  const size_t units = ((T::kShifted ? job->count : count) + T::kUnit - 1) / T::kUnit;
  const size_t stride = job->args->row_stride;
  const uint32_t* v_tile = job->v_tile + at * (T::kPositions / T::kUnit);
  const char* v_row = (const char*)((const typename T::Element*)job->args->v + at) + job->first * stride;
  const uint32_t* weights = (const uint32_t*)(job->weights + r0 * T::kPositions);
  Acc acc[R][kVecs];
  unroll_block<R, kVecs>([&](auto r, auto v) __attribute__((always_inline)) {
    acc[r][v] = T::value_start(job->v_start + at + v * kLanes);
  });
  for (size_t i = 0; i < units; ++i) {
    typename T::Lanes values[kVecs];
    unroll<0, kVecs>([&](auto v) __attribute__((always_inline)) {
      if constexpr (T::kRounded) {
        values[v] = T::load(v_tile + v * kLanes);
      } else {
        values[v] = T::load_value((const typename T::Element*)v_row + v * kLanes);
      }
    });
    unroll<0, R>([&](auto r) __attribute__((always_inline)) {
      const typename T::Lanes weight = T::spread(weights + (size_t)r * (T::kPositions / T::kUnit) + i);
      unroll<0, kVecs>([&](auto v) __attribute__((always_inline)) {
        acc[r][v] = T::dot_v(acc[r][v], values[v], weight);
      });
    });
    v_tile += kVecs * kLanes;
    v_row += stride;
  }
  unroll<0, R>([&](auto r) __attribute__((always_inline)) {
    float* sums = job->sums + (row + r0 + (size_t)r) * job->padded + at;
    const VecF k = v_set1(keep[r0 + (size_t)r]), s = v_set1(step[r0 + (size_t)r]);
    unroll<0, kVecs>([&](auto v) __attribute__((always_inline)) {
      const VecF old = v_mul(v_load(sums + v * kLanes), k);
      v_store(sums + v * kLanes, v_fma(T::to_float(acc[r][v]), s, old));
    });
  });
}

template <class T, int R>
static MINNOW_APART void attention_values(AttentionJob<T>* job, size_t row, size_t r0, size_t count,
                                          const float* keep, const float* step) {
  constexpr size_t kStep = T::kVecs * kLanes;
  size_t at = 0;
  for (; at + kStep <= job->padded; at += kStep)
    attention_values_at<T, R, T::kVecs>(job, at, row, r0, count, keep, step);
  if constexpr (!T::kRounded && kStep > 32) {  // floats are not padded to whole blocks
    if (at < job->padded) attention_values_at<T, R, 32 / kLanes>(job, at, row, r0, count, keep, step);
  }
}

// Rows [row, row + n) against the tile.
template <class T>
static inline void attention_rows(AttentionJob<T>* job, size_t row, size_t n) {
  size_t low[kBlockRows], high[kBlockRows], begin = job->count, end = 0;
  for (size_t r = 0; r < n; ++r) {
    const size_t from = job->low[row + r], to = job->high[row + r];
    low[r] = from > job->first ? from - job->first : 0;
    high[r] = to > job->first ? to - job->first : 0;
    if (high[r] > job->count) high[r] = job->count;
    if (low[r] < high[r]) {
      if (high[r] > end) end = high[r];
      if (low[r] < begin) begin = low[r];
    }
  }
  if (begin >= end) return;
  float top[kBlockRows], factor[kBlockRows], step[kBlockRows], keep[kKept];
  const size_t whole = n / T::kRows * T::kRows, rest = n - whole;
  for (size_t r = 0; r < whole; r += T::kRows) attention_scores<T, T::kRows>(job, row, r, end, top);
  if (T::kRows > 3 && rest == 3) attention_scores<T, 3>(job, row, whole, end, top);
  if (T::kRows > 2 && rest == 2) attention_scores<T, 2>(job, row, whole, end, top);
  if (rest == 1) attention_scores<T, 1>(job, row, whole, end, top);
  for (size_t r = 0; r < n; ++r) {
    float* old = &job->top[row + r];
    factor[r] = job->factor[row + r];
    if (low[r] > 0 || high[r] < T::kPositions || job->args->cap != 0.0f)
      top[r] = attention_mask(job, job->scores + r * T::kPositions, &factor[r], low[r], high[r]);
    const float most = top[r] * factor[r] < *old ? *old : top[r] * factor[r];
    top[r] = most == -INFINITY ? 0.0f : most;  // nothing seen so far: every weight comes out as 0
    keep[r] = *old - top[r];
    *old = most;
  }
  for (size_t r = n; r < kKept; ++r) keep[r] = 0.0f;
  for (size_t r = 0; r < kKept; r += kLanes) v_store(keep + r, v_exp2_negative(v_load(keep + r)));
  attention_fetch_some(job);
  attention_weigh(job, row, n, factor, top, keep, step);
  attention_fetch_some(job);
  for (size_t r = 0; r < whole; r += T::kRows) attention_values<T, T::kRows>(job, row, r, end, keep, step);
  if (T::kRows > 3 && rest == 3) attention_values<T, 3>(job, row, whole, end, keep, step);
  if (T::kRows > 2 && rest == 2) attention_values<T, 2>(job, row, whole, end, keep, step);
  if (rest == 1) attention_values<T, 1>(job, row, whole, end, keep, step);
}

template <class T>
static inline void attention_finish(const AttentionJob<T>* job) {
  constexpr size_t kStep = T::kVecs * kLanes;
  const AttentionArgs* args = job->args;
  for (size_t r = 0; r < job->rows; ++r) {
    float* out =
        args->out + r / args->heads * args->out_token_stride + r % args->heads * args->out_head_stride;
    const float total = v_hsum(v_load(job->totals + r * kLanes));
    const VecF inverse = v_set1(total == 0.0f ? 0.0f : 1.0f / total);
    for (size_t at = 0; at < job->padded; at += kStep) {
      const int n = job->padded - at < kStep ? 32 / kLanes : T::kVecs;
      VecF v[T::kVecs];
      for (int i = 0; i < n; ++i)
        v[i] = v_mul(v_load(job->sums + r * job->padded + at + i * kLanes), inverse);
      T::unpermute(v);
      for (int i = 0; i < n && at + (size_t)(i * kLanes) < args->d; ++i) v_store(out + at + i * kLanes, v[i]);
    }
    if (args->max != nullptr) args->max[r] = job->top[r];
    if (args->sum != nullptr) args->sum[r] = total;
  }
}

template <class T>
static inline void attention_body(const AttentionArgs* args) {
  AttentionJob<T> job;
  job.args = args;
  job.rows = args->tokens * args->heads;
  job.dwords = args->d / T::kUnit;
  const size_t step = T::kRounded ? T::kVecs * kLanes : 32;
  job.padded = (args->d + step - 1) / step * step;
  job.fetched = args->p0;
  job.ahead = args->row_stride < kAheadBytes ? kAheadBytes / args->row_stride : 1;
  attention_places(&job);
  attention_queries(&job);
  for (size_t p = args->p0; p < args->p1; p += T::kPositions) {
    job.first = p;
    job.count = args->p1 - p < T::kPositions ? args->p1 - p : (size_t)T::kPositions;
    attention_pack_k(&job);
    if constexpr (T::kRounded) attention_pack_v(&job);
    for (size_t row = 0; row < job.rows; row += kBlockRows)
      attention_rows(&job, row, job.rows - row < kBlockRows ? job.rows - row : (size_t)kBlockRows);
  }
  attention_finish(&job);
}

}  // namespace
