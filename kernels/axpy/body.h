// The body of the SIMD variants.
#pragma once

#include MINNOW_VEC

#include "kernels/axpy/axpy.h"

namespace {

static inline void axpy_body(const AxpyArgs* args) {
  const VecF a = v_set1(args->a);
  const VecF b = v_set1(args->b);
  size_t i = 0;
  for (; i + kLanes <= args->n; i += kLanes) {
    const VecF old = args->b != 0.0f ? v_mul(b, v_load(args->y + i)) : v_zero();
    v_store(args->y + i, args->x != nullptr ? v_fma(a, v_load(args->x + i), old) : old);
  }
  for (; i < args->n; ++i) {
    const float old = args->b != 0.0f ? args->b * args->y[i] : 0.0f;
    args->y[i] = args->x != nullptr ? args->a * args->x[i] + old : old;
  }
}

}  // namespace
