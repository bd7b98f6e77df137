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
  const uint8_t* end;  // of the rows this call reads
};

// Fetches ahead of p, but not what lies behind the call's rows: another thread reads that.
__attribute__((always_inline)) static inline void q8_prefetch(const Q8Block* block, const uint8_t* p) {
  v_prefetch(p + kPrefetchBytes < block->end ? p + kPrefetchBytes : p);
}

// total[c] += the scaled integer sum of group g. Isa names the integer vocabulary:
//   kBytes                        codes a vector, a divisor of 32
//   Codes load_w(p), load_x(p)
//   VecI start(sum_x)             what the lanes begin with
//   VecI dot(acc, w, x)           adds the products
//   VecF to_float(VecI)
template <class Isa, int kColumns>
static inline void q8_group(const LinearQ8Args* args, const Q8Block* block, const uint8_t* row, size_t g,
                            const float (*factors)[kBlockGroups], VecF* total) {
  const size_t first = g * args->group;
  const size_t end = args->k - first < args->group ? args->k : first + args->group;
  for (size_t i = first; i < end; i += 64) q8_prefetch(block, row + i);
  VecI acc[kColumns];
  for (int c = 0; c < kColumns; ++c) acc[c] = Isa::start(block->xsum[(size_t)c * args->xs_stride + g]);
  for (size_t i = first; i < end; i += 32) {
    for (size_t o = i; o < i + 32; o += Isa::kBytes) {
      const typename Isa::Codes w = Isa::load_w(row + o);
      for (int c = 0; c < kColumns; ++c) {
        acc[c] = Isa::dot(acc[c], w, Isa::load_x(block->x + (size_t)c * args->xq_stride + o));
      }
    }
  }
  for (int c = 0; c < kColumns; ++c) {
    total[c] = v_fma(Isa::to_float(acc[c]), v_set1(factors[c][g % kBlockGroups]), total[c]);
  }
}

// sums[c][r] for kColumns columns, row after row, as memory lies. Even and odd groups add to totals of their
// own: small groups would wait for the adder.
template <class Isa, int kColumns>
static inline void q8_rows(const LinearQ8Args* args, const Q8Block* block, float (*sums)[kBlockRows]) {
  const size_t groups = (args->k + args->group - 1) / args->group;
  VecF totals[kColumns][kBlockRows];
  for (int r = 0; r < kBlockRows; ++r) {
    const uint8_t* row = block->rows[r];
    VecF even[kColumns], odd[kColumns];
    for (int c = 0; c < kColumns; ++c) even[c] = odd[c] = v_zero();
    for (size_t g0 = 0; g0 < groups; g0 += kBlockGroups) {
      const size_t count = groups - g0 < kBlockGroups ? groups - g0 : (size_t)kBlockGroups;
      float factors[kColumns][kBlockGroups];  // s * sx
      for (size_t j = 0; j < count; j += kLanes) {
        const VecF scales = v_load_f16(block->scales[r] + g0 + j);
        for (int c = 0; c < kColumns; ++c) {
          const float* xs = block->xs + (size_t)c * args->xs_stride + g0 + j;
          v_store(&factors[c][j],
                  v_mul(scales, count - j >= kLanes ? v_load(xs) : v_load_part(xs, count - j, 0.0f)));
        }
      }
      size_t g = g0;
      for (; g + 2 <= g0 + count; g += 2) {
        q8_group<Isa, kColumns>(args, block, row, g, factors, even);
        q8_group<Isa, kColumns>(args, block, row, g + 1, factors, kColumns < 4 ? odd : even);
      }
      if (g < g0 + count) q8_group<Isa, kColumns>(args, block, row, g, factors, even);
    }
    for (int c = 0; c < kColumns; ++c) totals[c][r] = v_add(even[c], odd[c]);
  }
  for (int c = 0; c < kColumns; ++c) v_hsum4(totals[c], sums[c]);
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

// Tile::columns(args) is how many columns, at most 4, Tile::run(args, block, columns, sums) is given at a
// time.
template <class Tile>
static inline void linear_q8_body(const LinearQ8Args* args) {
  const size_t step = Tile::columns(args);
  for (size_t n = args->n0; n < args->n1; n += kBlockRows) {
    const size_t count = args->n1 - n < kBlockRows ? args->n1 - n : (size_t)kBlockRows;
    Q8Block block;
    block.end = args->w + args->n1 * args->w_stride;
    for (size_t r = 0; r < kBlockRows; ++r) {
      const size_t row = n + (r < count ? r : 0);
      block.rows[r] = args->w + row * args->w_stride;
      block.scales[r] = (const uint16_t*)((const char*)args->ws + row * args->ws_stride);
    }
    for (size_t m = 0; m < args->m; m += step) {
      const size_t columns = args->m - m < step ? args->m - m : step;
      block.x = args->xq + m * args->xq_stride;
      block.xs = args->xs + m * args->xs_stride;
      block.xsum = args->xsum + m * args->xs_stride;
      float sums[4][kBlockRows];
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

// One to four columns, row after row.
template <class Isa>
struct Q8Rows {
  static inline size_t columns(const LinearQ8Args*) { return 4; }
  static inline void run(const LinearQ8Args* args, const Q8Block* block, size_t columns,
                         float (*sums)[kBlockRows]) {
    switch (columns) {
      case 4:
        return q8_rows<Isa, 4>(args, block, sums);
      case 3:
        return q8_rows<Isa, 3>(args, block, sums);
      case 2:
        return q8_rows<Isa, 2>(args, block, sums);
      default:
        return q8_rows<Isa, 1>(args, block, sums);
    }
  }
};

}  // namespace
