// The body of the SIMD variants: blocks of rows that stay in the first-level cache; within a block up to four
// heads by a few vectors of d are held in registers while the rows stream by.
#pragma once

#include "kernels/attention_pv/attention_pv.h"
#include "kernels/common/vec_types.h"

namespace {

static constexpr int kPvRows = 32;
static constexpr int kPvVectors = kTileAccumulators / 4;

template <class Row, int kHeads, int kVectors>
static inline void pv_tile(const AttentionPvArgs* args, bool scaled_rows, size_t g, size_t at, size_t p0,
                           size_t p1, bool load) {
  VecF acc[kHeads][kVectors];
  float* out = args->out + g * args->out_stride + at;
  for (int h = 0; h < kHeads; ++h) {
    for (int v = 0; v < kVectors; ++v) {
      acc[h][v] = load ? v_load(out + (size_t)h * args->out_stride + (size_t)v * kLanes) : v_zero();
    }
  }
  const float* w = args->w + g * args->w_stride;
  for (size_t p = p0; p < p1; ++p) {
    typedef typename Row::Element Element;
    const Element* row = (const Element*)((const char*)args->v + p * args->row_stride) + at;
    VecF value[kVectors];
    for (int v = 0; v < kVectors; ++v) value[v] = Row::load(row + (size_t)v * kLanes);
    float scale = 1.0f;
    if (scaled_rows) scale = *(const float*)((const char*)args->row_scales + p * args->row_scale_stride);
    for (int h = 0; h < kHeads; ++h) {
      const VecF weight = v_set1(w[(size_t)h * args->w_stride + p] * scale);
      for (int v = 0; v < kVectors; ++v) acc[h][v] = v_fma(weight, value[v], acc[h][v]);
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int v = 0; v < kVectors; ++v)
      v_store(out + (size_t)h * args->out_stride + (size_t)v * kLanes, acc[h][v]);
  }
}

// d is a multiple of 32 and so of kPvVectors * kLanes on AVX2 and NEON; on AVX-512 the last 32 may be two
// vectors.
template <class Row, int kHeads>
static inline void pv_heads(const AttentionPvArgs* args, bool scaled_rows, size_t g, size_t p0, size_t p1,
                            bool load) {
  const size_t step = (size_t)kPvVectors * kLanes;
  size_t at = 0;
  for (; at + step <= args->d; at += step)
    pv_tile<Row, kHeads, kPvVectors>(args, scaled_rows, g, at, p0, p1, load);
  for (; at < args->d; at += 2 * kLanes) pv_tile<Row, kHeads, 2>(args, scaled_rows, g, at, p0, p1, load);
}

template <class Row>
static inline void attention_pv_body(const AttentionPvArgs* args, bool scaled_rows) {
  size_t p0 = args->p0;
  bool load = args->accumulate;
  do {
    const size_t p1 = args->p1 - p0 < kPvRows ? args->p1 : p0 + kPvRows;
    for (size_t p = p1; p < args->p1 && p < p1 + kPvRows; ++p) {  // the next block, while this one is summed
      fetch_row(args->v, p, args->row_stride, args->d * sizeof(typename Row::Element));
    }
    size_t g = 0;
    for (; g + 4 <= args->heads; g += 4) pv_heads<Row, 4>(args, scaled_rows, g, p0, p1, load);
    for (; g + 2 <= args->heads; g += 2) pv_heads<Row, 2>(args, scaled_rows, g, p0, p1, load);
    for (; g < args->heads; ++g) pv_heads<Row, 1>(args, scaled_rows, g, p0, p1, load);
    load = true;
    p0 = p1;
  } while (p0 < args->p1);
}

}  // namespace
