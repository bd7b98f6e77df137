// Integer sums of a tile by matrix products: an instruction multiplies two outputs with two columns over
// eight channels. For ISA files with MINNOW_GEMM_MATRIX, which take an even number of columns this way.
#pragma once

#include MINNOW_INT

namespace {

// acc[v][c] = codes * x over channels [k0, k1) of a tile; codes of step t are four channels of kLanes
// outputs.
template <int kCount, int kUsed>
__attribute__((always_inline)) static inline void matrix_group(const uint8_t* const* codes,
                                                               const int8_t* const* x, size_t x_stride,
                                                               size_t k0, size_t k1, VecI (*acc)[kCount]) {
  // sums[v][h][p]: outputs 4 v + 2 h + {0, 1} of columns 2 p + {0, 1}, row by row
  VecI sums[kUsed][2][kCount / 2];
  for (int v = 0; v < kUsed; ++v) {
    for (int p = 0; p < kCount / 2; ++p) sums[v][0][p] = sums[v][1][p] = vi_zero();
  }
  for (size_t k = k0; k < k1; k += 8) {
    VecB columns[kCount / 2];
    for (int p = 0; p < kCount / 2; ++p) {
      const int8_t* a = x[2 * p / 3] + (size_t)(2 * p % 3) * x_stride + k;
      const int8_t* b = x[(2 * p + 1) / 3] + (size_t)((2 * p + 1) % 3) * x_stride + k;
      columns[p] = vb_pair8(a, b);
    }
    for (int v = 0; v < kUsed; ++v) {
      const VecB first = vb_load(codes[v] + 16 * k), second = vb_load(codes[v] + 16 * (k + 4));
      const VecB outputs[2] = {vb_zip32_lo(first, second), vb_zip32_hi(first, second)};
      for (int h = 0; h < 2; ++h) {
        for (int p = 0; p < kCount / 2; ++p) sums[v][h][p] = vi_matrix(sums[v][h][p], outputs[h], columns[p]);
      }
    }
  }
  for (int v = 0; v < kUsed; ++v) {
    for (int p = 0; p < kCount / 2; ++p) {
      acc[v][2 * p] = vi_even(sums[v][0][p], sums[v][1][p]);
      acc[v][2 * p + 1] = vi_odd(sums[v][0][p], sums[v][1][p]);
    }
  }
}

}  // namespace
