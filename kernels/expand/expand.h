// expand: a tile of quantised weights as plain bytes, for the int8 matrix product (kernels/common/quantised.h has codes
// and layouts).
//
// Outputs [n0, n0 + rows) by channels [k0, k1) of one slab become
//   codes   panels of 16 outputs: [rows / 16][(k1 - k0) / 4][16 outputs][4 channels], what the 8-bit panel layout holds
//   scales  f32 [groups][rows]: s
//   zeros   f32 [groups][rows]: s * z, z counted in the codes written
// 8-bit codes are written as this instruction set's gemm wants them: as they are where it multiplies unsigned by signed
// bytes, minus 128 where both are signed; the zeros follow.
//
// n0 and k0 are multiples of 128; rows a multiple of 16; (k1 - k0) a multiple of 32. Outputs at and beyond
// `n` (the linear's own count, or that rounded up to 16 in panel layout) get scale and zero 0, and unspecified codes.
// Rounding: s is exact, s * z is rounded once.
#pragma once

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"
#include "kernels/common/quantised.h"

enum class ExpandLayout { row, panel, channel };

struct ExpandArgs {
  QuantisedWeights w;
  ExpandLayout layout;
  size_t n;         // outputs of the linear
  size_t channels;  // of the slab, padded to 32
  size_t n0, rows;
  size_t k0, k1;
  uint8_t* codes;
  float* scales;
  float* zeros;
};

static constexpr size_t kExpandRows = 128;  // n0 is a multiple of this

enum class ExpandOp { expand_u8_wn };

typedef void (*ExpandFn)(const ExpandArgs* args);

struct ExpandKernel {
  ExpandOp op;
  const char* name;
  ExpandFn fn;
  uint32_t isa;
};

#define MINNOW_KERNEL(op, symbol, isa) extern "C" void symbol(const ExpandArgs* args);
#include "kernels/expand/variants.inc"
#undef MINNOW_KERNEL

const ExpandKernel* select_expand(ExpandOp op, uint32_t isa_mask);
