// softmax: rows of scores to probabilities, in place.
//
//   t[i] = cap == 0 ? x[i] : cap * tanh(x[i] / cap)
//   x[i] = exp(t[i] - max t) / sum_j exp(t[j] - max t)
//
// Rows r in [0, rows), stride elements apart, n >= 1 elements each, any n. Minus infinity is a masked
// position and becomes 0 (with a cap, mask after capping: tanh of minus infinity is -1). A row of nothing but
// minus infinity gives NaN. Alignment: natural. Touches nothing outside the n elements. Relative error below
// (16 + n / 64) * 2^-24 plus that of the exponent, |t - max t| * 2^-24; of cap * tanh: 2^-21.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"

struct SoftmaxArgs {
  float* x;
  size_t stride;  // elements
  size_t rows;
  size_t n;
  float cap;  // 0: none
};

enum class SoftmaxOp { softmax_f32 };

typedef void (*SoftmaxFn)(const SoftmaxArgs* args);

struct SoftmaxKernel {
  SoftmaxOp op;
  const char* name;
  SoftmaxFn fn;
  uint32_t isa;
};

#define MINNOW_KERNEL(op, symbol, isa) extern "C" void symbol(const SoftmaxArgs* args);
#include "kernels/softmax/variants.inc"
#undef MINNOW_KERNEL

const SoftmaxKernel* select_softmax(SoftmaxOp op, uint32_t isa_mask);
