// nearest: of each row of scores, which is the largest.
//
//   id[i * id_stride] = the smallest j in [0, n) where x[j] + bias[j] is largest,   x = scores + i * stride
//
// Rows i in [0, m). bias may be nullptr: zeros. n is a multiple of 16, 16 <= n <= 65536. Zeros of either sign
// are equal. Who wants the nearest b to a by distance, |a - b|^2, gives products a.b as scores and -|b|^2 / 2
// as bias. Reads n elements of a row and of bias, no more. Alignment: natural; rows that begin with a cache
// line are read faster. Variants agree exactly on finite input: one IEEE addition, then comparisons. Where
// there are NaNs the id is unspecified but below n.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"

struct NearestArgs {
  const float* scores;
  size_t stride;      // elements
  const float* bias;  // [n], or nullptr
  uint16_t* id;
  size_t id_stride;  // elements
  size_t m, n;
};

enum class NearestOp { nearest_u16_f32 };

typedef void (*NearestFn)(const NearestArgs* args);

struct NearestKernel {
  NearestOp op;
  const char* name;
  NearestFn fn;
  uint32_t isa;
};

#define MINNOW_KERNEL(op, symbol, isa) extern "C" void symbol(const NearestArgs* args);
#include "kernels/nearest/variants.inc"
#undef MINNOW_KERNEL

const NearestKernel* select_nearest(NearestOp op, uint32_t isa_mask);
