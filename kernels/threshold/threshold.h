// threshold: what a token may leave out, set to zero and told apart from what it needs.
//
//   kept(i)  = !( |x[i]| <= scale * thresholds[i] )        a NaN is kept, so that it is seen
//   out[i]   = kept(i) ? x[i] : 0                          for i < n; out may be x
//   list     = base + i for the kept i, ascending, or nullptr when nobody wants it
//   *kept    = how many those are
//
// n any. A threshold of zero leaves out zeros only. list has room for n rounded up to kThresholdSlack:
// variants write past the last entry, never past that. The rest is touched within n elements only. Alignment:
// natural. Variants agree bit for bit: one product, one comparison.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"

struct ThresholdArgs {
  const float* x;
  const float* thresholds;
  float scale;
  float* out;
  uint32_t* list;  // or nullptr
  uint32_t base;
  size_t n;
  size_t* kept;
};

static constexpr size_t kThresholdSlack = 16;

enum class ThresholdOp { threshold_f32 };

typedef void (*ThresholdFn)(const ThresholdArgs* args);

struct ThresholdKernel {
  ThresholdOp op;
  const char* name;
  ThresholdFn fn;
  uint32_t isa;
};

#define MINNOW_KERNEL(op, symbol, isa) extern "C" void symbol(const ThresholdArgs* args);
#include "kernels/threshold/variants.inc"
#undef MINNOW_KERNEL

const ThresholdKernel* select_threshold(ThresholdOp op, uint32_t isa_mask);
