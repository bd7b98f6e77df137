// axpy: y[i] = a * x[i] + b * y[i], for i in [0, n). With b == 0, y is only written (it may hold NaN).
//
// a = b = 1 is a residual add; b = 0 a scaled copy; x nullptr scales y in place: y[i] = b * y[i].
// n any; x may be y. Alignment: natural. |error| <= 2^-23 * (|a x| + |b y|).
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"

struct AxpyArgs {
  const float* x;  // or nullptr
  float* y;
  size_t n;
  float a, b;
};

enum class AxpyOp { axpy_f32 };

typedef void (*AxpyFn)(const AxpyArgs* args);

struct AxpyKernel {
  AxpyOp op;
  const char* name;
  AxpyFn fn;
  uint32_t isa;
};

#define MINNOW_KERNEL(op, symbol, isa) extern "C" void symbol(const AxpyArgs* args);
#include "kernels/axpy/variants.inc"
#undef MINNOW_KERNEL

const AxpyKernel* select_axpy(AxpyOp op, uint32_t isa_mask);
