// The body of the SIMD variants: whole vectors where values lie side by side, the others one by one.
#pragma once

#include MINNOW_VEC

#include <math.h>

#include "kernels/mean/mean.h"

namespace {

static inline void mean_body(const MeanArgs* args) {
  const bool replaced = args->weight == 1.0f;
  const VecF weight = v_set1(args->weight);
  size_t i = 0;
  for (; args->stride == 1 && i + kLanes <= args->n; i += kLanes) {
    VecF value = v_load(args->x + i);
    if (!replaced) {
      const VecF old = v_load_f16(args->mean + i);
      value = v_fma(weight, v_sub(value, old), old);
    }
    v_store_f16(args->mean + i, value);
  }
  for (; i < args->n; ++i) {
    float value = args->x[i];
    uint16_t* mean = args->mean + i * args->stride;
    if (!replaced) {
      const float old = v_f32_of_f16(*mean);
      value = fmaf(args->weight, value - old, old);  // an instruction, with these flags
    }
    *mean = v_f16_of_f32(value);
  }
}

}  // namespace
