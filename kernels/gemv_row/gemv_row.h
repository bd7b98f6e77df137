// gemv_row: quantised weights in row layout times one column of int8 activations (kernels/common/quantised.h has
// maths, codes and alignment).
//
//   y[n] = (the sum over one slab's channels) (+ bias[n])    for n in [n0, n1)
//
// A row is one run of memory (codes, scales, zeros), so that rows can be left out. With accumulate the sum is added to y
// and bias is ignored. k is the slab's channels padded to a multiple of 32; x must be padded as QuantisedInput says,
// since whole units are multiplied. Integer sums are exact, the sum over groups is f32:
//   |error| <= (groups + 8) * 2^-22 * sum_g |s * sx| * ( sum |q * xq| + |z * sum xq| ).
#pragma once

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"
#include "kernels/common/quantised.h"

struct GemvRowArgs {
  QuantisedWeights w;
  QuantisedInput x;   // one row of it
  const float* bias;  // f32[n1], or nullptr
  float* y;           // f32[n1]
  size_t n0, n1;
  size_t k;
  bool accumulate;
};

enum class GemvRowOp { gemv_row_f32_q8_wn };

typedef void (*GemvRowFn)(const GemvRowArgs* args);

struct GemvRowKernel {
  GemvRowOp op;
  const char* name;
  GemvRowFn fn;
  uint32_t isa;
};

#define MINNOW_KERNEL(op, symbol, isa) extern "C" void symbol(const GemvRowArgs* args);
#include "kernels/gemv_row/variants.inc"
#undef MINNOW_KERNEL

const GemvRowKernel* select_gemv_row(GemvRowOp op, uint32_t isa_mask);
