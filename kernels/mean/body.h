// The body of the SIMD variants: whole vectors, the remainder one by one.
#pragma once

#include MINNOW_VEC

#include <math.h>

#include "kernels/common/float_bits.h"
#include "kernels/mean/mean.h"

namespace {

static inline void mean_body(const MeanArgs* args) {
  const bool replaced = args->weight == 1.0f;
  const VecF weight = v_set1(args->weight);
  size_t i = 0;
  for (; i + kLanes <= args->n; i += kLanes) {
    VecF value = v_load(args->x + i);
    if (!replaced) {
      const VecF old = v_load_f16(args->mean + i);
      value = v_fma(weight, v_sub(value, old), old);
    }
    v_store_f16(args->mean + i, value);
  }
  for (; i < args->n; ++i) {
    float value = args->x[i];
    if (!replaced) {
      const float old = f32_of_f16(args->mean[i]);
      value = fmaf(args->weight, value - old, old);  // an instruction, with these flags
    }
    args->mean[i] = f16_of_f32(value);
  }
}

}  // namespace
