// weigh: the mean of f16 rows under softmax weights, for the scores of several heads over the same rows.
//
//   x'[g][m]  = unit * x[g][m] + bias[m]                       for g in [0, heads), m in [0, n)
//   max[g]    = max x'[g][m]
//   sum[g]    = sum exp2(x'[g][m] - max[g])
//   out[g][d] = sum exp2(x'[g][m] - max[g]) * v[m mod rows][d] / sum[g]  for d in [0, dim)
//
//   unit  finite: scores times it are in exponents of two (a softmax's scale times log2(e))
//   x     f32, rows x_stride elements apart, n finite elements each (minus infinity takes a row out)
//   bias  f32 [n], in exponents of two: log2(c) counts a row of v c times, minus infinity takes it out.
//         Finite otherwise
//   v     f16: row r at v + r * row_stride bytes, dim elements, all finite, also where taken out
//   out   f32, rows out_stride elements apart, dim elements (all written); zeros, sum 0 and max minus
//         infinity for a head where all are taken out
//   max, sum  f32 [heads] or nullptr. Parts are put together as attention.h says.
//
// heads at least 1; rows a multiple of kWeighGroup, n one of rows; dim a multiple of 32, 0 for max and sum
// alone. Alignment: natural; scratch 64 bytes, weigh_scratch_bytes(n) long, any contents; out overlaps
// nothing. Reads and writes no more than that. Rows of v are read from memory once for kWeighHeads heads; a
// kWeighGroup of them (from a multiple of it on) that weighs 0 for all of these is not read. A head's result
// does not depend on the others.
//
// Errors: with w the exact weights, X the largest |unit * x| + |bias| of those not taken out,
// e = 2^-21 + 2^-22 * X + n * 2^-24:
//   out  2 e * sum w |v| / sum w + n * 2^-109: weights below 2^-125 of the largest count as 0
//   log2(sum) + max  2 e;   max  2^-23 X
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"

#define kWeighGroup 16
#define kWeighHeads 8

struct WeighArgs {
  const float* x;
  size_t x_stride;  // elements
  float unit;
  const float* bias;
  const uint16_t* v;
  size_t row_stride;  // bytes
  float* out;
  size_t out_stride;  // elements
  float *max, *sum;
  size_t heads, n, rows, dim;
  void* scratch;
};

// Weights of kWeighHeads heads, a cache line between them, and a list of groups.
static inline size_t weigh_scratch_bytes(size_t n) {
  return kWeighHeads * (n + 16) * sizeof(float) + n / kWeighGroup * sizeof(uint32_t);
}

enum class WeighOp { weigh_f32_f16 };

typedef void (*WeighFn)(const WeighArgs* args);

struct WeighKernel {
  WeighOp op;
  const char* name;
  WeighFn fn;
  uint32_t isa;
};

#define MINNOW_KERNEL(op, symbol, isa) extern "C" void symbol(const WeighArgs* args);
#include "kernels/weigh/variants.inc"
#undef MINNOW_KERNEL

const WeighKernel* select_weigh(WeighOp op, uint32_t isa_mask);
