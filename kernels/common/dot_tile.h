// sums[c][r] = sum_k column_c[k] * row_r[k]: four rows, one to four f32 columns.
// Shared by linear_float (rows are weights) and attention_qk (rows are keys).
#pragma once

#include "kernels/common/vec_types.h"

namespace {

static constexpr int kTileRows = 4;
static constexpr int kTileColumns = 4;

// rows[0..3] may repeat (that is how a remainder of fewer than four rows is done). k is a multiple of 32.
// With few columns the sum is unrolled along k: the adders' latency wants eight independent accumulators.
template <class Row, int kColumns>
static inline void dot_columns(const typename Row::Element* const* rows, const float* x, size_t x_stride,
                               size_t k, float (*sums)[kTileRows], size_t prefetch_bytes) {
  constexpr int kUnroll = kColumns == 1 ? 2 : 1;
  VecF acc[kUnroll][kColumns][kTileRows];
  for (int u = 0; u < kUnroll; ++u) {
    for (int c = 0; c < kColumns; ++c) {
      for (int r = 0; r < kTileRows; ++r) acc[u][c][r] = v_zero();
    }
  }
  for (size_t i = 0; i < k; i += kUnroll * kLanes) {
    for (int u = 0; u < kUnroll; ++u) {
      const size_t at = i + (size_t)u * kLanes;
      VecF w[kTileRows];
      for (int r = 0; r < kTileRows; ++r) w[r] = Row::load(rows[r] + at);
      if (kColumns == 1 && prefetch_bytes != 0) {
        for (int r = 0; r < kTileRows; ++r) v_prefetch((const char*)(rows[r] + at) + prefetch_bytes);
      }
      for (int c = 0; c < kColumns; ++c) {
        const VecF v = v_load(x + (size_t)c * x_stride + at);
        for (int r = 0; r < kTileRows; ++r) acc[u][c][r] = v_fma(w[r], v, acc[u][c][r]);
      }
    }
  }
  for (int c = 0; c < kColumns; ++c) {
    for (int u = 1; u < kUnroll; ++u) {
      for (int r = 0; r < kTileRows; ++r) acc[0][c][r] = v_add(acc[0][c][r], acc[u][c][r]);
    }
    v_hsum4(acc[0][c], sums[c]);
  }
}

// columns in [1, 4]; as many at once as the registers hold.
template <class Row>
static inline void dot_tile(const typename Row::Element* const* rows, const float* x, size_t x_stride,
                            size_t columns, size_t k, float (*sums)[kTileRows], size_t prefetch_bytes) {
  if (kTileAccumulators < 16) {
    for (; columns > 2; columns -= 2, x += 2 * x_stride, sums += 2) {
      dot_columns<Row, 2>(rows, x, x_stride, k, sums, 0);
    }
  } else if (columns == 4) {
    return dot_columns<Row, 4>(rows, x, x_stride, k, sums, 0);
  } else if (columns == 3) {
    return dot_columns<Row, 3>(rows, x, x_stride, k, sums, 0);
  }
  if (columns == 2) return dot_columns<Row, 2>(rows, x, x_stride, k, sums, 0);
  dot_columns<Row, 1>(rows, x, x_stride, k, sums, prefetch_bytes);
}

}  // namespace
