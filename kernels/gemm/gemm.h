// gemm: a tile of weights that `expand` wrote, times many columns of int8 activations.
//
//   y[m][r] = sum_g ( s[g][r] * sx[m][g] * sum_{k in g} q[r][k] * xq[m][k]  -  sz[g][r] * zx[m][g] )  (+ bias[r])
//
//   codes          [rows / 16][k / 4][16][4] bytes, s and sz [groups][rows], all 64-byte aligned; rows a multiple of 16
//   x              of the tile's first channel on (kernels/common/quantised.h)
//   y              columns y_stride elements apart; r in [0, n), n <= rows
//   bits           of the codes before they were expanded: how many products fit 16-bit sums
// With accumulate the sum is added to y and bias is ignored. k is a multiple of 32, group 32, 64 or 128, the last one
// may be short. Integer sums are exact, the sum over groups is f32:
//   |error| <= (groups + 4) * 2^-22 * sum_g ( |s * sx| * sum |q * xq| + |sz * zx| ).
#pragma once

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"
#include "kernels/common/quantised.h"

struct GemmArgs {
  const uint8_t* codes;
  const float* scales;
  const float* zeros;
  size_t rows, k, group;
  int bits;
  QuantisedInput x;
  size_t m;
  size_t n;
  const float* bias;  // f32[n], or nullptr
  float* y;
  size_t y_stride;  // elements
  bool accumulate;
};

enum class GemmOp { gemm_f32_q8_u8 };

typedef void (*GemmFn)(const GemmArgs* args);

struct GemmKernel {
  GemmOp op;
  const char* name;
  GemmFn fn;
  uint32_t isa;
};

#define MINNOW_KERNEL(op, symbol, isa) extern "C" void symbol(const GemmArgs* args);
#include "kernels/gemm/variants.inc"
#undef MINNOW_KERNEL

const GemmKernel* select_gemm(GemmOp op, uint32_t isa_mask);
