// The body of the SIMD variants: a comparison makes a bit a lane, bits make the list.
#pragma once

#include MINNOW_VEC

#include "kernels/threshold/threshold.h"

namespace {

static inline void threshold_body(const ThresholdArgs* args) {
  const VecF scale = v_set1(args->scale);
  size_t kept = 0;
  for (size_t i = 0; i < args->n; i += kLanes) {
    const size_t left = args->n - i;
    const bool whole = left >= kLanes;
    // Lanes past the end are zeros at a threshold of zero: left out.
    const VecF x = whole ? v_load(args->x + i) : v_load_part(args->x + i, left, 0.0f);
    const VecF t = whole ? v_load(args->thresholds + i) : v_load_part(args->thresholds + i, left, 0.0f);
    VecF out;
    const uint32_t bits = v_above(x, v_mul(t, scale), &out);
    if (whole)
      v_store(args->out + i, out);
    else
      v_store_part(args->out + i, out, left);
    if (args->list != nullptr) v_list(args->list + kept, args->base + (uint32_t)i, bits);
    kept += (size_t)__builtin_popcount(bits);
  }
  *args->kept = kept;
}

}  // namespace
