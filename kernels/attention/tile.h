// What a call of the SIMD variants works on: its queries, and the tile of K and V at hand, prepared.
//
// Tile describes an element type on an instruction set (tile_<isa>.h and the ISA files):
//   Element, Weight, Query             of KV rows; of weights and queries as the dot products take them
//   kUnit                              elements in a 32-bit lane: 4 int8, 2 int16 or 1 float
//   kPositions                         positions a tile
//   kRows, kVecs                       accumulators: query rows by vectors of lanes
//   Acc, Lanes                         vectors of sums; of kUnit elements a lane
//   kRounded                           integer arithmetic: queries and weights are rounded
//   kShifted                           weights lose 128, which sums over V begin with: shift(start, v)
//   load_k(p, left), load(p)           kLanes lanes of a row of K; of a tile
//   pack_v(rows, left, out), unpermute(v)  kUnit rows of V in some order of d, and sums back in order;
//   integers load_value(p)                      floats of a row of V start(sum), value_start(p)         what
//   sums of scores and values begin with dot_k(acc, k, q), dot_v(acc, v, w), spread(p), to_float(acc)
//   store_query(p, v), store_weights(p, w, factor)
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

}  // namespace
