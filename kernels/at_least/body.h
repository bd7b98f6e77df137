// The body of the SIMD variants: comparisons make a bit of each of 64 numbers. An ISA file brings a Reach,
// which keeps the bound in a register (kernels/common/list_where.h says what it is asked).
#pragma once

#include "kernels/at_least/at_least.h"
#include "kernels/common/list_where.h"

namespace {

static_assert(kTurn == kAtLeastSlack, "a list may be written as far as a turn reaches");

template <class Reach>
static inline void at_least_body(const AtLeastArgs* args) {
  const Reach reach(args->least);
  *args->count = list_where(reach, args->x, args->n, 0, args->list);
}

}  // namespace
