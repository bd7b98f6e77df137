// The body of the SIMD variants.
#pragma once

#include MINNOW_VEC

#include "kernels/rope/rope.h"

namespace {

static inline void rope_body(const RopeArgs* args) {
  const size_t half = args->r / 2;
  for (size_t h = 0; h < args->heads; ++h) {
    float* low = args->x + h * args->stride;
    float* high = low + half;
    size_t j = 0;
    for (; j + kLanes <= half; j += kLanes) {
      const VecF a = v_load(low + j);
      const VecF b = v_load(high + j);
      const VecF c = v_load(args->cos + j);
      const VecF s = v_load(args->sin + j);
      v_store(low + j, v_fnma(b, s, v_mul(a, c)));
      v_store(high + j, v_fma(a, s, v_mul(b, c)));
    }
    for (; j < half; ++j) {
      const float a = low[j];
      const float b = high[j];
      low[j] = a * args->cos[j] - b * args->sin[j];
      high[j] = b * args->cos[j] + a * args->sin[j];
    }
  }
}

}  // namespace
