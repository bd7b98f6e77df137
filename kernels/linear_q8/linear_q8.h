// linear_q8: quantised weights times int8 activations.
//
//   y[m][n] = sum_g s[n][g] * sx[m][g] * ( sum_{k in g} q[n][k] * xq[m][k]  -  z[n][g] * sum_x[m][g] )  (+
//   bias[n])
//
// for n in [n0, n1), m in [0, M); with accumulate the sum is added to y and bias is ignored.
// Group g covers inputs [g * group, min((g + 1) * group, k)): the last one may be short.
//
// linear_f32_q8_w8, row layout
//   q     unsigned 8-bit codes, one row per output, w_stride bytes apart, a multiple of 64
//   s     f16, one per group, rows ws_stride bytes apart
//   z     128 everywhere when wz is nullptr; else one byte per group, rows wz_stride bytes apart
//   xq    int8 in [-127, 127] (what quantize_q8_f32 writes; -128 gives a wrong sum, not a crash)
//   sx    f32 per group; sum_x int32 per group: the sum of that group's xq. Both xs_stride elements a row
//   k     the padded K, a multiple of 32 (zeros in xq beyond the real K); group is 32, 64 or 128
// Alignment: q 64 bytes, s and y natural, xq none.
// Reads: nothing of xq, sx, sum_x past their ends; of q, s, z up to 64 bytes past the end of a row.
// Integer sums are exact; they become f32 lane by lane, and the sum over groups is f32:
//   |error| <= (groups + 8) * 2^-23 * sum_g |s * sx| * ( sum |q * xq| + 256 * |sum_x| ).
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"

struct LinearQ8Args {
  const int8_t* xq;
  size_t xq_stride;  // bytes
  const float* xs;
  const int32_t* xsum;
  size_t xs_stride;  // elements, of xs and xsum
  const uint8_t* w;
  size_t w_stride;     // bytes
  const uint16_t* ws;  // f16
  size_t ws_stride;    // bytes, even
  const uint8_t* wz;   // or nullptr: 128
  size_t wz_stride;    // bytes
  const float* bias;   // f32[n1], or nullptr
  float* y;
  size_t y_stride;  // elements
  size_t m;
  size_t n0, n1;
  size_t k;
  size_t group;
  bool accumulate;
};

enum class LinearQ8Op { linear_f32_q8_w8 };

typedef void (*LinearQ8Fn)(const LinearQ8Args* args);

struct LinearQ8Kernel {
  LinearQ8Op op;
  const char* name;
  LinearQ8Fn fn;
  uint32_t isa;
};

#define MINNOW_KERNEL(op, symbol, isa) extern "C" void symbol(const LinearQ8Args* args);
#include "kernels/linear_q8/variants.inc"
#undef MINNOW_KERNEL

const LinearQ8Kernel* select_linear_q8(LinearQ8Op op, uint32_t isa_mask);
