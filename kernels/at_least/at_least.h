// at_least: where numbers are that reach a bound.
//
//   list    = every i in [0, n) with x[i] >= least, ascending; a NaN reaches nothing
//   *count  = how many those are
//
// n any. list has room for n rounded up to kAtLeastSlack: variants write past the last entry, never past
// that. x is read within n elements only. Alignment: natural. Made for few that reach it.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"

struct AtLeastArgs {
  const float* x;
  size_t n;
  float least;
  uint32_t* list;
  size_t* count;
};

static constexpr size_t kAtLeastSlack = 64;

enum class AtLeastOp { at_least_u32_f32 };

typedef void (*AtLeastFn)(const AtLeastArgs* args);

struct AtLeastKernel {
  AtLeastOp op;
  const char* name;
  AtLeastFn fn;
  uint32_t isa;
};

#define MINNOW_KERNEL(op, symbol, isa) extern "C" void symbol(const AtLeastArgs* args);
#include "kernels/at_least/variants.inc"
#undef MINNOW_KERNEL

const AtLeastKernel* select_at_least(AtLeastOp op, uint32_t isa_mask);
