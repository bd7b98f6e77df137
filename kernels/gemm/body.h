// The body of the SIMD variants: kVectors vectors of outputs by kColumns columns in registers. The ISA file
// defines MINNOW_GEMM_VECTORS and MINNOW_GEMM_COLUMNS by its number of registers, and MINNOW_GEMM_MATRIX
// where it multiplies matrices.
#pragma once

#include MINNOW_INT

#include "kernels/common/quantised.h"
#include "kernels/gemm/gemm.h"
#ifdef MINNOW_GEMM_MATRIX
#include "kernels/gemm/matrix_group.h"
#endif

namespace {

static constexpr int kVectors = MINNOW_GEMM_VECTORS;
static constexpr int kColumns = MINNOW_GEMM_COLUMNS;
static constexpr int kTileOutputs = kVectors * kLanes;

// How products are summed: in int32 lanes, or in int16 ones for so many blocks of 32 channels.
enum class Sums { direct, wide, blocks1, blocks2, blocks4 };

// acc[v][c] = codes * x over channels [k0, k1) of a tile.
template <Sums kSums, int kCount, int kUsed>
__attribute__((always_inline)) static inline void tile_group(const uint8_t* const* codes,
                                                             const int8_t* const* x, size_t x_stride,
                                                             size_t k0, size_t k1, VecI (*acc)[kCount]) {
  for (int v = 0; v < kUsed; ++v) {
    for (int c = 0; c < kCount; ++c) acc[v][c] = vi_zero();
  }
  if constexpr (kSums == Sums::direct || kSums == Sums::wide) {
    for (size_t k = k0; k < k1; k += 4) {
      VecB w[kUsed];
      for (int v = 0; v < kUsed; ++v) w[v] = vb_load(codes[v] + 16 * k);
      for (int c = 0; c < kCount; ++c) {
        const VecB quad = vb_quad(x[c / 3] + (size_t)(c % 3) * x_stride + k);
        for (int v = 0; v < kUsed; ++v) {
          if constexpr (kSums == Sums::wide)
            acc[v][c] = vi_dot_wide(acc[v][c], w[v], quad);
          else
            acc[v][c] = vi_dot(acc[v][c], w[v], quad);
        }
      }
    }
  } else {
    constexpr size_t kRun = kSums == Sums::blocks1 ? 32 : kSums == Sums::blocks2 ? 64 : 128;
    for (size_t k = k0; k < k1; k += kRun) {
      Dots dots[kUsed][kCount];
      for (int v = 0; v < kUsed; ++v) {
        for (int c = 0; c < kCount; ++c) dots[v][c] = dots_zero();
      }
      const size_t end = k1 - k < kRun ? k1 : k + kRun;
      for (size_t i = k; i < end; i += 4) {
        VecB w[kUsed];
        for (int v = 0; v < kUsed; ++v) w[v] = vb_load(codes[v] + 16 * i);
        for (int c = 0; c < kCount; ++c) {
          const VecB quad = vb_quad(x[c / 3] + (size_t)(c % 3) * x_stride + i);
          for (int v = 0; v < kUsed; ++v) dots[v][c] = dot_of_many(dots[v][c], w[v], quad);
        }
      }
      for (int v = 0; v < kUsed; ++v) {
        for (int c = 0; c < kCount; ++c) acc[v][c] = vi_add(acc[v][c], dots_sum(dots[v][c]));
      }
    }
  }
}

// kCount columns from m on, kUsed vectors of outputs from r on.
template <Sums kSums, int kCount, int kUsed>
static inline void tile(const GemmArgs* args, size_t m, size_t r) {
  const size_t panel = args->k * 16;
  const uint8_t* codes[kUsed];
  for (int v = 0; v < kUsed; ++v) {
    const size_t row = r + (size_t)v * kLanes;
    codes[v] = args->codes + row / 16 * panel + row % 16 * 4;
  }
  const int8_t* x[(kCount + 2) / 3];
  for (int c = 0; c < kCount; c += 3) x[c / 3] = args->x.codes + (m + (size_t)c) * args->x.stride;
  const float* xs = args->x.scales + m * args->x.group_stride;
  const float* zs = args->x.zs + m * args->x.group_stride;
  alignas(64) float total[kUsed][kCount][kLanes];
  for (size_t k = 0, g = 0; k < args->k; k += args->group, ++g) {
    const size_t end = args->k - k < args->group ? args->k : k + args->group;
    VecI acc[kUsed][kCount];
#ifdef MINNOW_GEMM_MATRIX
    if constexpr (kCount % 2 == 0)
      matrix_group<kCount, kUsed>(codes, x, args->x.stride, k, end, acc);
    else
#endif
      tile_group<kSums, kCount, kUsed>(codes, x, args->x.stride, k, end, acc);
    for (int v = 0; v < kUsed; ++v) {
      const VecF s = v_load(args->scales + g * args->rows + r + (size_t)v * kLanes);
      const VecF z = v_load(args->zeros + g * args->rows + r + (size_t)v * kLanes);
      for (int c = 0; c < kCount; ++c) {
        const size_t at = (size_t)c * args->x.group_stride + g;
        const VecF before = g == 0 ? v_zero() : v_load(total[v][c]);
        const VecF sum = v_fma(vi_to_float(acc[v][c]), v_mul(s, v_set1(xs[at])), before);
        v_store(total[v][c], v_fnma(z, v_set1(zs[at]), sum));
      }
    }
  }
  for (int v = 0; v < kUsed; ++v) {
    const size_t row = r + (size_t)v * kLanes;
    if (row >= args->n) break;
    const size_t left = args->n - row;
    for (int c = 0; c < kCount; ++c) {
      float* y = args->y + (m + (size_t)c) * args->y_stride + row;
      VecF sum = v_load(total[v][c]);
      if (left >= kLanes) {
        if (args->accumulate)
          sum = v_add(sum, v_load(y));
        else if (args->bias != nullptr)
          sum = v_add(sum, v_load(args->bias + row));
        v_store(y, sum);
      } else {
        if (args->accumulate)
          sum = v_add(sum, v_load_part(y, left, 0.0f));
        else if (args->bias != nullptr)
          sum = v_add(sum, v_load_part(args->bias + row, left, 0.0f));
        v_store_part(y, sum, left);
      }
    }
  }
}

template <Sums kSums, int kUsed>
static inline void columns(const GemmArgs* args, size_t r) {
  constexpr int kHalf = kColumns / 2, kQuarter = (kHalf + 1) / 2;
  size_t m = 0;
  for (; m + kColumns <= args->m; m += kColumns) tile<kSums, kColumns, kUsed>(args, m, r);
  for (; kHalf > 1 && m + kHalf <= args->m; m += kHalf) tile<kSums, kHalf, kUsed>(args, m, r);
  for (; kQuarter > 1 && m + kQuarter <= args->m; m += kQuarter) tile<kSums, kQuarter, kUsed>(args, m, r);
  for (; m < args->m; ++m) tile<kSums, 1, kUsed>(args, m, r);
}

template <Sums kSums>
static inline void gemm_tiles(const GemmArgs* args) {
  const size_t end = args->n < args->rows ? (args->n + 15) / 16 * 16 : args->rows;
  size_t r = 0;
  for (; r + kTileOutputs <= end; r += kTileOutputs) columns<kSums, kVectors>(args, r);
  if (kTileOutputs > 16 && r < end) columns<kSums, 16 / kLanes>(args, r);
}

static inline void gemm_body(const GemmArgs* args) {
  if (args->bits == 8) return gemm_tiles<Sums::wide>(args);
  if constexpr (kDotsAreInt32) {
    gemm_tiles<Sums::direct>(args);
  } else {
    if (args->bits == 4) return gemm_tiles<Sums::blocks1>(args);
    if (args->bits == 3) return gemm_tiles<Sums::blocks2>(args);
    gemm_tiles<Sums::blocks4>(args);
  }
}

}  // namespace
