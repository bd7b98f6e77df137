// rope: rotary position embedding of one position, in place, half-split pairing.
//
//   for each head h and j < r / 2, with a = x[h][j] and b = x[h][j + r / 2]:
//     x[h][j]         = a * cos[j] - b * sin[j]
//     x[h][j + r / 2] = b * cos[j] + a * sin[j]
//
// Heads stride elements apart; elements r and beyond of a head are left alone. r is even, any.
// Alignment: natural. Touches nothing outside [0, r) of each head.
// |error| <= 2^-23 * (|a| + |b|).
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"

struct RopeArgs {
  float* x;
  size_t stride;  // elements
  size_t heads;
  size_t r;          // rotated elements of a head
  const float* cos;  // [r / 2]
  const float* sin;  // [r / 2]
};

enum class RopeOp { rope_f32 };

typedef void (*RopeFn)(const RopeArgs* args);

struct RopeKernel {
  RopeOp op;
  const char* name;
  RopeFn fn;
  uint32_t isa;
};

#define MINNOW_KERNEL(op, symbol, isa) extern "C" void symbol(const RopeArgs* args);
#include "kernels/rope/variants.inc"
#undef MINNOW_KERNEL

const RopeKernel* select_rope(RopeOp op, uint32_t isa_mask);
