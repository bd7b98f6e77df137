// The body of the SIMD variants: blocks of four weight rows, all columns over a block while it is in the
// cache.
//
// The integer part is computed with the zero point 128, exactly; what differs from 128 is added at the end:
//   sum (q - z) x = sum (q - 128) x + (128 - z) sum_x
#pragma once

#include MINNOW_VEC

#include "kernels/common/float_bits.h"
#include "kernels/linear_q8/linear_q8.h"

namespace {

static constexpr int kBlockRows = 4;
static constexpr int kBlockGroups = 16;  // factors are prepared for this many groups at a time

struct Q8Block {
  const uint8_t* rows[kBlockRows];  // the last may repeat
  const uint16_t* scales[kBlockRows];
  const int8_t* x;
  const float* xs;
  const int32_t* xsum;
};

// factors[c][r][j] = s[row r][g0 + j] * sx[column c][g0 + j], for j < count. A vector more than needed may be
// written.
template <int kColumns>
static inline void q8_factors(const LinearQ8Args* args, const Q8Block* block, size_t g0, size_t count,
                              float (*factors)[kBlockRows][2 * kBlockGroups]) {
  for (size_t j = 0; j < count; j += kLanes) {
    VecF s[kBlockRows];
    for (int r = 0; r < kBlockRows; ++r) s[r] = v_load_f16(block->scales[r] + g0 + j);
    for (int c = 0; c < kColumns; ++c) {
      const float* xs = block->xs + (size_t)c * args->xs_stride + g0 + j;
      const VecF x = count - j >= kLanes ? v_load(xs) : v_load_part(xs, count - j, 0.0f);
      for (int r = 0; r < kBlockRows; ++r) v_store(&factors[c][r][j], v_mul(s[r], x));
    }
  }
}

// sums[c][r] for kColumns columns. Isa names the integer vocabulary:
//   kBytes                        codes a vector, a divisor of 32
//   Codes load_w(p), load_x(p)
//   VecI start(sum_x)             what the lanes begin with
//   VecI dot(acc, w, x)           adds the products
//   VecF to_float(VecI)
template <class Isa, int kColumns>
static inline void q8_tile(const LinearQ8Args* args, const Q8Block* block, float (*sums)[kBlockRows]) {
  VecF total[kColumns][kBlockRows];
  for (int c = 0; c < kColumns; ++c) {
    for (int r = 0; r < kBlockRows; ++r) total[c][r] = v_zero();
  }
  const size_t ahead = kBlockRows * args->w_stride;
  const size_t groups = (args->k + args->group - 1) / args->group;
  for (size_t g0 = 0; g0 < groups; g0 += kBlockGroups) {
    float factors[kColumns][kBlockRows][2 * kBlockGroups];
    const size_t count = groups - g0 < kBlockGroups ? groups - g0 : (size_t)kBlockGroups;
    q8_factors<kColumns>(args, block, g0, count, factors);
    for (size_t j = 0; j < count; ++j) {
      const size_t first = (g0 + j) * args->group;
      const size_t end = args->k - first < args->group ? args->k : first + args->group;
      VecI start[kColumns];
      for (int c = 0; c < kColumns; ++c)
        start[c] = Isa::start(block->xsum[(size_t)c * args->xs_stride + g0 + j]);
      for (int r = 0; r < kBlockRows; ++r) {
        VecI acc[kColumns];
        for (int c = 0; c < kColumns; ++c) acc[c] = start[c];
        for (size_t i = first; i < end; i += Isa::kBytes) {
          const typename Isa::Codes w = Isa::load_w(block->rows[r] + i);
          if (kColumns == 1 && i % 64 == 0) v_prefetch(block->rows[r] + i + ahead);
          for (int c = 0; c < kColumns; ++c) {
            acc[c] = Isa::dot(acc[c], w, Isa::load_x(block->x + (size_t)c * args->xq_stride + i));
          }
        }
        for (int c = 0; c < kColumns; ++c) {
          total[c][r] = v_fma(Isa::to_float(acc[c]), v_set1(factors[c][r][j]), total[c][r]);
        }
      }
    }
  }
  for (int c = 0; c < kColumns; ++c) v_hsum4(total[c], sums[c]);
}

// (128 - z) sum_x, for linears that have zero points of their own.
static inline float q8_zero_part(const LinearQ8Args* args, const Q8Block* block, size_t r, size_t c,
                                 size_t n) {
  const uint8_t* zeros = args->wz + n * args->wz_stride;
  const float* xs = block->xs + c * args->xs_stride;
  const int32_t* xsum = block->xsum + c * args->xs_stride;
  float sum = 0;
  for (size_t g = 0; g * args->group < args->k; ++g) {
    sum += f32_of_f16(block->scales[r][g]) * xs[g] * (float)((128 - (int32_t)zeros[g]) * xsum[g]);
  }
  return sum;
}

// Tile::run(args, block, columns, sums) does 1 to Tile::kMaxColumns columns.
template <class Tile>
static inline void linear_q8_body(const LinearQ8Args* args) {
  for (size_t n = args->n0; n < args->n1; n += kBlockRows) {
    const size_t count = args->n1 - n < kBlockRows ? args->n1 - n : (size_t)kBlockRows;
    Q8Block block;
    for (size_t r = 0; r < kBlockRows; ++r) {
      const size_t row = n + (r < count ? r : 0);
      block.rows[r] = args->w + row * args->w_stride;
      block.scales[r] = (const uint16_t*)((const char*)args->ws + row * args->ws_stride);
    }
    for (size_t m = 0; m < args->m; m += Tile::kMaxColumns) {
      const size_t columns = args->m - m < Tile::kMaxColumns ? args->m - m : (size_t)Tile::kMaxColumns;
      block.x = args->xq + m * args->xq_stride;
      block.xs = args->xs + m * args->xs_stride;
      block.xsum = args->xsum + m * args->xs_stride;
      float sums[Tile::kMaxColumns][kBlockRows];
      Tile::run(args, &block, columns, sums);
      for (size_t c = 0; c < columns; ++c) {
        float* y = args->y + (m + c) * args->y_stride + n;
        for (size_t r = 0; r < count; ++r) {
          float sum = sums[c][r];
          if (args->wz != nullptr) sum += q8_zero_part(args, &block, r, c, n + r);
          y[r] = sum + (args->accumulate ? y[r] : args->bias != nullptr ? args->bias[n + r] : 0.0f);
        }
      }
    }
  }
}

// One or two columns at a time: the registers of AVX2 and NEON.
template <class Isa>
struct Q8TwoColumns {
  static constexpr int kMaxColumns = 2;
  static inline void run(const LinearQ8Args* args, const Q8Block* block, size_t columns,
                         float (*sums)[kBlockRows]) {
    if (columns == 2) return q8_tile<Isa, 2>(args, block, sums);
    q8_tile<Isa, 1>(args, block, sums);
  }
};

// Up to four: 32 registers.
template <class Isa>
struct Q8FourColumns {
  static constexpr int kMaxColumns = 4;
  static inline void run(const LinearQ8Args* args, const Q8Block* block, size_t columns,
                         float (*sums)[kBlockRows]) {
    switch (columns) {
      case 4:
        return q8_tile<Isa, 4>(args, block, sums);
      case 3:
        return q8_tile<Isa, 3>(args, block, sums);
      case 2:
        return q8_tile<Isa, 2>(args, block, sums);
      default:
        return q8_tile<Isa, 1>(args, block, sums);
    }
  }
};

}  // namespace
