// The body of the SIMD variants. Per tile of positions: K is transposed into lanes of positions, V
// interleaved into lanes of dimensions, both so that a 32-bit lane holds what one integer dot product takes;
// then blocks of up to eight query rows are scored, weighed and summed while the tile is in the first-level
// cache. Rows share the tile, so its preparation is paid once for all heads and tokens of the call.
//
// Tile describes an element type on an instruction set (tile_<isa>.h and the ISA files):
//   Element, Weight, Query             of KV rows; of weights and queries as the dot products take them
//   kUnit                              elements in a 32-bit lane: 4 int8, 2 int16 or 1 float
//   kPositions                         positions a tile
//   kRows, kVecs                       accumulators: query rows by vectors of lanes
//   Acc, Lanes                         vectors of sums; of kUnit elements a lane
//   kRounded                           integer arithmetic: queries and weights are rounded
//   load_k(p, left), pack_v(rows, at, left, out), unpermute(v)
//   start(sum), dot_k(acc, k, q), dot_v(acc, v, w), spread(p), to_float(acc)
//   store_query(p, v), store_weights(p, w, factor), value_start(acc)
#pragma once

#include MINNOW_VEC

#include <math.h>

#include "kernels/attention/attention.h"
#include "kernels/common/float_bits.h"
#include "kernels/common/vec_math.h"
#include "kernels/common/vec_types.h"

namespace {

// GCC 12 spills accumulators where all of this is one function: a sixth of the speed.
#define MINNOW_APART __attribute__((noinline))

static constexpr size_t kAheadBytes = 6144;
static constexpr size_t kBlockRows = 8;                   // the most rows of a block
static constexpr size_t kKept = kLanes > 8 ? kLanes : 8;  // as many, in whole vectors

// One call: what does not change, the tile at hand, and the state of the online softmax by row.
template <class T>
struct AttentionJob {
  const AttentionArgs* args;
  size_t rows, dwords, padded;  // dwords: 32-bit lanes of a query row; padded: d as V tiles have it
  size_t ahead;                 // how many rows further on are asked for
  size_t fetched;               // rows before this position were asked for
  size_t first, count;          // the tile: positions [first, first + count)

  uint32_t* k_tile;              // [block of kVecs vectors][dwords][kVecs][lane]
  uint32_t* v_tile;              // [block of kVecs vectors of d][kPositions / kUnit][kVecs][lane]
  uint32_t* queries;             // [rows][dwords]
  float* sums;                   // [rows][padded], d in the order of V tiles
  int32_t* v_start;              // [padded]
  float *k_scales, *v_scales;    // [kPositions]
  float* scores;                 // [kBlockRows][kPositions]
  typename T::Weight* weights;   // [kBlockRows][kPositions]
  float* totals;                 // [rows][lane]
  float top[kAttentionRows];     // the largest score so far, times log2(e)
  float factor[kAttentionRows];  // from integer sums to scores times log2(e)
  size_t low[kAttentionRows], high[kAttentionRows];  // the positions a row sees
  int32_t start[kAttentionRows];                     // what a row's sums begin with
};

template <class T>
static inline void attention_places(AttentionJob<T>* job) {
  const size_t d = job->padded, rows = kAttentionRows;
  float* at = (float*)job->args->scratch;
  job->k_tile = (uint32_t*)at, at += T::kPositions * (d / T::kUnit);
  job->v_tile = (uint32_t*)at, at += T::kPositions * (d / T::kUnit);
  job->queries = (uint32_t*)at, at += rows * d;
  job->sums = at, at += rows * d;
  job->v_start = (int32_t*)at, at += d;
  job->k_scales = at, at += T::kPositions;
  job->v_scales = at, at += T::kPositions;
  job->scores = at, at += kBlockRows * T::kPositions;
  job->weights = (typename T::Weight*)at, at += kBlockRows * T::kPositions / T::kUnit;
  job->totals = at;
}

// Queries as the dot products take them, and what a row begins with.
template <class T>
static inline void attention_queries(AttentionJob<T>* job) {
  const AttentionArgs* args = job->args;
  const size_t d = args->d;
  for (size_t r = 0; r < job->rows; ++r) {
    const float* q = args->q + r / args->heads * args->q_token_stride + r % args->heads * args->q_head_stride;
    typename T::Query* to = (typename T::Query*)(job->queries + r * job->dwords);
    float unit = 1.0f;
    int32_t sum = 0;
    if constexpr (T::kRounded) {
      VecI largest = vi_zero(), total = vi_zero();
      for (size_t i = 0; i < d; i += kLanes) largest = vi_max(largest, vi_abs_bits(v_load(q + i)));
      float most = f32_of_bits((uint32_t)vi_hmax(largest));
      if (most < 0x1p-100f) most = 0.0f;
      const VecF inverse = v_set1(most == 0.0f ? 0.0f : 127.0f / most);
      for (size_t i = 0; i < d; i += kLanes) {
        VecF v = v_mul(v_load(q + i), inverse);
        v = v_min(v_max(v, v_set1(-127.0f)), v_set1(127.0f));
        const VecI codes = vi_nearest(v);
        T::store_query(to + i, codes);
        total = vi_add(total, codes);
      }
      sum = vi_hsum(total);
      // A query of zeros has zero sums; any factor that is not zero keeps a masked score from being NaN.
      unit = most == 0.0f ? 1.0f : most / 127.0f;
    } else {
      for (size_t i = 0; i < d; i += kLanes) v_store((float*)to + i, v_load(q + i));
    }
    const size_t limit = args->last + r / args->heads;
    job->low[r] = args->window != 0 && limit > args->window ? limit - args->window : 0;
    job->high[r] = limit;
    job->start[r] = sum;
    job->factor[r] = unit * args->scale * 1.44269504f;
    job->top[r] = -INFINITY;
    v_store(job->totals + r * kLanes, v_zero());
    for (size_t i = 0; i < job->padded; i += kLanes) v_store(job->sums + r * job->padded + i, v_zero());
  }
}

// Asks for rows up to position `end`, both halves in the order memory has them.
template <class T>
__attribute__((always_inline)) static inline void attention_fetch(AttentionJob<T>* job, size_t end) {
  const AttentionArgs* args = job->args;
  if (end > args->p1) end = args->p1;
  for (; job->fetched < end; ++job->fetched) {
    fetch_row(args->k, job->fetched, args->row_stride, args->d * sizeof(typename T::Element));
    fetch_row(args->v, job->fetched, args->row_stride, args->d * sizeof(typename T::Element));
  }
}

// Few rows: memory is the limit, and it must not rest while they are computed. Not so far ahead that the
// first-level cache could not hold it beside the tile.
template <class T>
__attribute__((always_inline)) static inline void attention_fetch_some(AttentionJob<T>* job) {
  const size_t most = job->first + job->count + 2 * job->ahead;
  if (job->rows <= kBlockRows && job->fetched < most) attention_fetch(job, job->fetched + job->ahead);
}

// Keys of kLanes positions from i on; those past the end of the tile repeat its last, and are masked later.
template <class T, bool kFull>
static inline void attention_pack_keys(AttentionJob<T>* job, size_t i) {
  typedef typename T::Element Element;
  const AttentionArgs* args = job->args;
  const char* base = (const char*)args->k + (job->first + i) * args->row_stride;
  const size_t left = job->count - i, vector = i / kLanes;
  uint32_t* to = job->k_tile + (vector / T::kVecs * job->dwords * T::kVecs + vector % T::kVecs) * kLanes;
  for (size_t at = 0; at < job->dwords; at += kLanes) {
    VecI block[kLanes];
    const char* row = base + at * T::kUnit * sizeof(Element);
    for (size_t lane = 0; lane < kLanes; ++lane) {
      block[lane] = T::load_k((const Element*)row, args->d - at * T::kUnit);
      if (kFull || lane + 1 < left) row += args->row_stride;
    }
    vi_transpose(block);
    // Fewer where d is 32 more than a multiple of 64 and vectors hold 64.
    const size_t n = job->dwords - at < kLanes ? kLanes / 2 : kLanes;
    for (size_t j = 0; j < kLanes / 2; ++j) vi_store(to + (at + j) * T::kVecs * kLanes, block[j]);
    if (n < kLanes) break;
    for (size_t j = kLanes / 2; j < kLanes; ++j) vi_store(to + (at + j) * T::kVecs * kLanes, block[j]);
  }
}

template <class T>
static inline void attention_pack_scales(AttentionJob<T>* job) {
  const AttentionArgs* args = job->args;
  const char* k = (const char*)args->k_scales + job->first * args->scale_stride;
  const char* v = (const char*)args->v_scales + job->first * args->scale_stride;
  size_t i = 0;
  if (args->scale_stride == 8 && v == k + 4) {  // pairs, as the cache has them
    for (; i + kLanes <= job->count; i += kLanes)
      v_load_pairs((const float*)k + 2 * i, job->k_scales + i, job->v_scales + i);
  }
  for (; i < job->count; ++i) {
    job->k_scales[i] = *(const float*)(k + i * args->scale_stride);
    job->v_scales[i] = *(const float*)(v + i * args->scale_stride);
  }
  for (; i < T::kPositions; ++i) job->k_scales[i] = job->v_scales[i] = 0.0f;
}

template <class T>
static MINNOW_APART void attention_pack_k(AttentionJob<T>* job) {
  size_t i = 0;
  for (; i + kLanes <= job->count; i += kLanes) {
    attention_fetch(job, job->first + i + job->ahead);
    attention_pack_keys<T, true>(job, i);
  }
  if (i < job->count) attention_pack_keys<T, false>(job, i);
  if (T::kRounded) attention_pack_scales(job);
}

template <class T>
static MINNOW_APART void attention_pack_v(AttentionJob<T>* job) {
  constexpr size_t kStep = T::kVecs * kLanes;
  typedef typename T::Element Element;
  const size_t stride = job->args->row_stride;
  for (size_t at = 0; at < job->padded; at += kStep) {
    uint32_t* to = job->v_tile + at * (T::kPositions / T::kUnit);
    const char* row = (const char*)((const Element*)job->args->v + at) + job->first * stride;
    typename T::Acc start[T::kVecs];
    for (int v = 0; v < T::kVecs; ++v) start[v] = T::start(0);
    for (size_t i = 0; i < job->count; i += T::kUnit, to += kStep, row += T::kUnit * stride) {
      const Element* rows[T::kUnit];
      for (size_t j = 0; j < T::kUnit; ++j)
        rows[j] = (const Element*)(row + (i + j < job->count ? j : job->count - 1 - i) * stride);
      VecI out[T::kVecs];
      T::pack_v(rows, job->args->d - at, out);
      for (int v = 0; v < T::kVecs; ++v) {
        vi_store(to + v * kLanes, out[v]);
        if constexpr (T::kShifted) start[v] = T::shift(start[v], out[v]);
      }
    }
    if constexpr (T::kShifted) {
      for (int v = 0; v < T::kVecs; ++v) vi_store((uint32_t*)job->v_start + at + v * kLanes, start[v]);
    }
  }
}

// scores[r] of rows [row, row + R), times ks but not the row's factor, and their largest, for positions below
// `count`; what lies behind in the last vectors is whatever the tile held.
template <class T, int R>
static MINNOW_APART void attention_scores(AttentionJob<T>* job, size_t row, size_t r0, size_t count,
                                          float* top) {
  typedef typename T::Acc Acc;
  const size_t dwords = job->dwords;
  VecF largest[R];
  for (int r = 0; r < R; ++r) largest[r] = v_set1(-INFINITY);
  for (size_t at = 0; at < count; at += T::kVecs * kLanes) {
    const uint32_t* k = job->k_tile + at * dwords;
    const uint32_t* q = job->queries + (row + r0) * dwords;
    Acc acc[R][T::kVecs];
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < T::kVecs; ++v) acc[r][v] = T::start(job->start[row + r0 + (size_t)r]);
    }
    for (size_t i = 0; i < dwords; ++i) {
      typename T::Lanes keys[T::kVecs];
      for (int v = 0; v < T::kVecs; ++v) keys[v] = T::load(k + v * kLanes);
      for (int r = 0; r < R; ++r) {
        const typename T::Lanes query = T::spread(q + (size_t)r * dwords + i);
        for (int v = 0; v < T::kVecs; ++v) acc[r][v] = T::dot_k(acc[r][v], keys[v], query);
      }
      k += T::kVecs * kLanes;
    }
    for (int v = 0; v < T::kVecs; ++v) {
      const size_t p = at + (size_t)v * kLanes;
      const VecF scale = T::kRounded ? v_load(job->k_scales + p) : v_set1(1.0f);
      for (int r = 0; r < R; ++r) {
        VecF x = T::to_float(acc[r][v]);
        if (T::kRounded) x = v_mul(x, scale);
        v_store(job->scores + (r0 + (size_t)r) * T::kPositions + p, x);
        largest[r] = v_max(x, largest[r]);
      }
    }
  }
  for (int r = 0; r < R; ++r) top[r0 + (size_t)r] = v_hmax(largest[r]);
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
  const size_t units = (count + T::kUnit - 1) / T::kUnit, stride = job->args->row_stride;
  const uint32_t* v_tile = job->v_tile + at * (T::kPositions / T::kUnit);
  const char* v_row = (const char*)((const typename T::Element*)job->args->v + at) + job->first * stride;
  const uint32_t* weights = (const uint32_t*)(job->weights + r0 * T::kPositions);
  Acc acc[R][kVecs];
  for (int v = 0; v < kVecs; ++v) {
    const Acc start = T::value_start(job->v_start + at + v * kLanes);
    for (int r = 0; r < R; ++r) acc[r][v] = start;
  }
  for (size_t i = 0; i < units; ++i) {
    typename T::Lanes values[kVecs];
    for (int v = 0; v < kVecs; ++v) {
      if constexpr (T::kRounded) {
        values[v] = T::load(v_tile + v * kLanes);
      } else {
        values[v] = T::load_value((const typename T::Element*)v_row + v * kLanes);
      }
    }
    for (int r = 0; r < R; ++r) {
      const typename T::Lanes weight = T::spread(weights + (size_t)r * (T::kPositions / T::kUnit) + i);
      for (int v = 0; v < kVecs; ++v) acc[r][v] = T::dot_v(acc[r][v], values[v], weight);
    }
    v_tile += kVecs * kLanes;
    v_row += stride;
  }
  for (int r = 0; r < R; ++r) {
    float* sums = job->sums + (row + r0 + (size_t)r) * job->padded + at;
    const VecF k = v_set1(keep[r0 + (size_t)r]), s = v_set1(step[r0 + (size_t)r]);
    for (int v = 0; v < kVecs; ++v) {
      const VecF old = v_mul(v_load(sums + v * kLanes), k);
      v_store(sums + v * kLanes, v_fma(T::to_float(acc[r][v]), s, old));
    }
  }
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
