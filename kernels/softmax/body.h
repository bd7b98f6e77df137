// The body of the SIMD variants: three passes over a row. Lanes past the end are minus infinity, whose exp is
// 0.
#pragma once

#include <math.h>

#include "kernels/common/vec_math.h"
#include "kernels/softmax/softmax.h"

namespace {

static inline VecF softmax_load(const float* x, size_t left) {
  return left >= kLanes ? v_load(x) : v_load_part(x, left, -INFINITY);
}

static inline void softmax_store(float* x, VecF v, size_t left) {
  if (left >= kLanes) {
    v_store(x, v);
  } else {
    v_store_part(x, v, left);
  }
}

static inline void softmax_body(const SoftmaxArgs* args) {
  const size_t n = args->n;
  for (size_t r = 0; r < args->rows; ++r) {
    float* x = args->x + r * args->stride;
    VecF max = v_set1(-INFINITY);
    for (size_t i = 0; i < n; i += kLanes) {
      VecF v = softmax_load(x + i, n - i);
      if (args->cap != 0.0f) {
        v = v_mul(v_set1(args->cap), v_tanh(v_div(v, v_set1(args->cap))));
        softmax_store(x + i, v, n - i);
        v = softmax_load(x + i, n - i);  // the lanes past the end again
      }
      max = v_max(v, max);
    }
    const VecF shift = v_set1(v_hmax(max));
    VecF sum = v_zero();
    for (size_t i = 0; i < n; i += kLanes) {
      const VecF v = v_exp(v_sub(softmax_load(x + i, n - i), shift));
      softmax_store(x + i, v, n - i);
      sum = v_add(sum, v);
    }
    const VecF factor = v_set1(1.0f / v_hsum(sum));
    for (size_t i = 0; i < n; i += kLanes) {
      softmax_store(x + i, v_mul(softmax_load(x + i, n - i), factor), n - i);
    }
  }
}

}  // namespace
