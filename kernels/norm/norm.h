// norm: the two normalisations of language models, over rows of n elements.
//
//   rmsnorm_f32     y[r][i] = x[r][i] / sqrt(mean(x[r]^2) + eps) * weight[i]
//   layernorm_f32   y[r][i] = (x[r][i] - mean(x[r])) / sqrt(var(x[r]) + eps) * weight[i] + bias[i]
//
// var is the mean of squared distances from the mean (two passes, so it does not cancel).
// Rows x_stride and y_stride elements apart; y may be x. weight nullptr means ones; bias nullptr means zeros
// (rmsnorm ignores it). n >= 1, any. Alignment: natural. Reads nothing outside the n elements.
// Relative error of y: (sqrt(n) + 16) * 2^-24, for layernorm relative to max |x|.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"

struct NormArgs {
  const float* x;
  size_t x_stride;      // elements
  const float* weight;  // [n], or nullptr
  const float* bias;    // [n], or nullptr
  float* y;
  size_t y_stride;  // elements
  size_t rows;
  size_t n;
  float eps;
};

enum class NormOp { rmsnorm_f32, layernorm_f32 };

typedef void (*NormFn)(const NormArgs* args);

struct NormKernel {
  NormOp op;
  const char* name;
  NormFn fn;
  uint32_t isa;
};

#define MINNOW_KERNEL(op, symbol, isa) extern "C" void symbol(const NormArgs* args);
#include "kernels/norm/variants.inc"
#undef MINNOW_KERNEL

const NormKernel* select_norm(NormOp op, uint32_t isa_mask);
