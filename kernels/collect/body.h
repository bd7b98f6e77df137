// The body of the SIMD variants: a table lookup makes a bit of each of 64 ids. An ISA file brings a Lookup,
// which keeps the bitmap in registers (kernels/common/list_where.h says what it is asked).
#pragma once

#include "kernels/collect/collect.h"
#include "kernels/common/list_where.h"

namespace {

static_assert(kTurn == kCollectSlack, "a list may be written as far as a turn reaches");

template <class Lookup>
static inline void collect_body(const CollectArgs* args) {
  const Lookup lookup(args->wanted, args->above);
  *args->count = list_where(lookup, args->ids, args->n, args->base, args->list);
}

}  // namespace
