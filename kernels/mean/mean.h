// mean: moves a mean that is kept as f16 towards x.
//
//   m[i] += weight * (x[i] - m[i]), for i in [0, n);   m[i] = mean[i * stride], weight in (0, 1]
//
// With weight 1 / k the mean of the k rows so far, with one that stays the same a moving one. In f32: the
// mean widened, one subtraction, one fused product and sum; then rounded to nearest even. With weight 1 the
// mean is only written (it may hold anything): x rounded to f16.
//
// n any, stride at least 1: what lies between is not touched. score.h's panels have one of 16; 1 is the fast
// one. Alignment: natural. mean and x do not overlap. Reads and writes n elements, no more. For finite x,
// with r the exact result, |error| <= 2^-11 |r| + 2^-25 + 2^-23 * weight * |x - mean|, unless f16 cannot hold
// it: 65520 and above in size becomes infinity, as in convert.h, and the next call with a weight below 1
// makes a NaN of that. A mean stays where it is once the step weight * (x - mean) is below half a unit of its
// last place, 2^-12 to 2^-11 of its size: steps that small are lost, however many. Variants and strides
// agree bit for bit, signs and payloads of NaNs apart.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"

struct MeanArgs {
  uint16_t* mean;
  size_t stride;  // elements between values of mean
  const float* x;
  size_t n;
  float weight;
};

enum class MeanOp { mean_f16_f32 };

typedef void (*MeanFn)(const MeanArgs* args);

struct MeanKernel {
  MeanOp op;
  const char* name;
  MeanFn fn;
  uint32_t isa;
};

#define MINNOW_KERNEL(op, symbol, isa) extern "C" void symbol(const MeanArgs* args);
#include "kernels/mean/variants.inc"
#undef MINNOW_KERNEL

const MeanKernel* select_mean(MeanOp op, uint32_t isa_mask);
