// gemv_row: quantised weights in row layout times one column of int8 activations (kernels/common/quantised.h
// has maths, codes and alignment).
//
//   y[n] = (the sum over one slab's channels) (+ bias[n])    for n in [n0, n1), or for n = rows[i], i in [n0,
//   n1) and then times factors[n], where there are factors
//
// A row is one run of memory (codes, scales, zeros), so that rows can be left out. With accumulate the sum is
// added to y and bias is ignored. k is the slab's channels padded to a multiple of 32; x must be padded as
// QuantisedInput says, since whole units are multiplied. Integer sums are exact, the sum over groups is f32:
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
  const uint32_t* rows;  // u32[n1]: outputs wanted, any order; or nullptr: all
  const float* factors;  // f32, as long as y; or nullptr: what gates make of the sum, in the last slab's call
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
