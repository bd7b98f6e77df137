// linear_float: dense matrix times a few activation columns, float weights.
//
//   y[m][n] = sum_k x[m][k] * W[n][k]  (+ bias[n])           for n in [n0, n1), m in [0, M)
//   y[m][n] += the same sum                                   with accumulate; bias is then ignored
//
// Shapes and layout
//   x     f32, rows x_stride elements apart, k elements each, zeros from the real K up to k
//   W     f32, f16 or bf16 (the op says which), rows w_stride bytes apart from a 64-byte aligned start;
//         w_stride is a multiple of the element size, zeros from the real K up to k
//   k     the padded K: a multiple of 32
//   y     f32, rows y_stride elements apart; only columns [n0, n1) are touched
// Alignment: W 64 bytes; x, y and bias 4 bytes.
// Reads: nothing of x past its k elements; of W up to 64 bytes past the end of a row.
// Each group of up to 4 weight rows is read from memory once for all M columns, 4 columns at a time.
// Sums are f32, in an order that differs between variants; |error| <= (k + 8) * 2^-24 * sum |x * W|.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"

struct LinearFloatArgs {
  const float* x;
  size_t x_stride;  // elements
  const void* w;
  size_t w_stride;    // bytes
  const float* bias;  // f32[n1], or nullptr
  float* y;
  size_t y_stride;  // elements
  size_t m;
  size_t n0, n1;
  size_t k;
  bool accumulate;
};

enum class LinearFloatOp { linear_f32_f32_f32, linear_f32_f32_f16, linear_f32_f32_bf16 };

typedef void (*LinearFloatFn)(const LinearFloatArgs* args);

struct LinearFloatKernel {
  LinearFloatOp op;
  const char* name;
  LinearFloatFn fn;
  uint32_t isa;
};

#define MINNOW_KERNEL(op, symbol, isa) extern "C" void symbol(const LinearFloatArgs* args);
#include "kernels/linear_float/variants.inc"
#undef MINNOW_KERNEL

const LinearFloatKernel* select_linear_float(LinearFloatOp op, uint32_t isa_mask);
