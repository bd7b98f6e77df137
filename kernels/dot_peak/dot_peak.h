// dot_peak: how many products of bytes a core can do when nothing has to be loaded: what the peak in
// benchmarks means.
//
//   rounds times a block of independent products in registers, as gemm does them for 4-bit codes (8-bit sums
//   included where products are summed in 16 bits); *count = multiply-adds done.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"

struct DotPeakArgs {
  uint64_t rounds;
  uint64_t* count;
};

enum class DotPeakOp { dot_peak };

typedef void (*DotPeakFn)(const DotPeakArgs* args);

struct DotPeakKernel {
  DotPeakOp op;
  const char* name;
  DotPeakFn fn;
  uint32_t isa;
};

#define MINNOW_KERNEL(op, symbol, isa) extern "C" void symbol(const DotPeakArgs* args);
#include "kernels/dot_peak/variants.inc"
#undef MINNOW_KERNEL

const DotPeakKernel* select_dot_peak(DotPeakOp op, uint32_t isa_mask);
