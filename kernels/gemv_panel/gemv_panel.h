// gemv_panel: quantised weights in panel layout times few columns of int8 activations (kernels/common/quantised.h has
// maths, codes and alignment).
//
//   y[m][n] = (the sum over one slab's channels) (+ bias[n])    for n in [n0, n1), m in [0, M)
//
// n0 is a multiple of 16; n1 is one or the number of outputs. With accumulate the sum is added to y and bias is ignored.
// k is the slab's channels padded to a multiple of 32, for which weights are stored.
// Meant for 1 to 4 columns (a pass over the weights each four); more are correct.
// Integer sums are exact, the sum over groups is f32:
//   |error| <= (groups + 4) * 2^-22 * sum_g |s * sx| * ( sum |q * xq| + |z * sum xq| ).
#pragma once

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"
#include "kernels/common/quantised.h"

struct GemvPanelArgs {
  QuantisedWeights w;
  QuantisedInput x;
  const float* bias;  // f32[n1], or nullptr
  float* y;
  size_t y_stride;  // elements
  size_t m;
  size_t n0, n1;
  size_t k;
  bool accumulate;
};

enum class GemvPanelOp { gemv_panel_f32_q8_wn };

typedef void (*GemvPanelFn)(const GemvPanelArgs* args);

struct GemvPanelKernel {
  GemvPanelOp op;
  const char* name;
  GemvPanelFn fn;
  uint32_t isa;
};

#define MINNOW_KERNEL(op, symbol, isa) extern "C" void symbol(const GemvPanelArgs* args);
#include "kernels/gemv_panel/variants.inc"
#undef MINNOW_KERNEL

const GemvPanelKernel* select_gemv_panel(GemvPanelOp op, uint32_t isa_mask);
