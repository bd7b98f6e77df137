// The body of the SIMD variants. Four accumulators of kLanes lanes: each lane adds few terms, so f32 is
// enough.
#pragma once

#include MINNOW_VEC

#include <math.h>

#include "kernels/norm/norm.h"

namespace {

enum NormPart { kSum, kSquares };

// sum of (x - shift), or of its square.
template <NormPart kPart>
static inline float norm_sum(const float* x, size_t n, float shift) {
  const VecF s = v_set1(shift);
  VecF acc[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
  size_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (int u = 0; u < 4; ++u) {
      const VecF v = v_sub(v_load(x + i + (size_t)u * kLanes), s);
      acc[u] = kPart == kSum ? v_add(acc[u], v) : v_fma(v, v, acc[u]);
    }
  }
  for (; i < n; i += kLanes) {
    const VecF v = v_sub(n - i >= kLanes ? v_load(x + i) : v_load_part(x + i, n - i, shift), s);
    acc[0] = kPart == kSum ? v_add(acc[0], v) : v_fma(v, v, acc[0]);
  }
  return v_hsum(v_add(v_add(acc[0], acc[1]), v_add(acc[2], acc[3])));
}

// y = (x - shift) * factor * weight + bias
static inline void norm_apply(const NormArgs* args, const float* x, float* y, const float* bias, float shift,
                              float factor) {
  const VecF s = v_set1(shift);
  const VecF f = v_set1(factor);
  for (size_t i = 0; i < args->n; i += kLanes) {
    const size_t left = args->n - i;
    const bool whole = left >= kLanes;
    VecF v = v_mul(v_sub(whole ? v_load(x + i) : v_load_part(x + i, left, 0.0f), s), f);
    if (args->weight != nullptr) {
      v = v_mul(v, whole ? v_load(args->weight + i) : v_load_part(args->weight + i, left, 0.0f));
    }
    if (bias != nullptr) v = v_add(v, whole ? v_load(bias + i) : v_load_part(bias + i, left, 0.0f));
    if (whole) {
      v_store(y + i, v);
    } else {
      v_store_part(y + i, v, left);
    }
  }
}

static inline void rmsnorm_body(const NormArgs* args) {
  for (size_t r = 0; r < args->rows; ++r) {
    const float* x = args->x + r * args->x_stride;
    const float mean = norm_sum<kSquares>(x, args->n, 0.0f) / (float)args->n;
    norm_apply(args, x, args->y + r * args->y_stride, nullptr, 0.0f, 1.0f / sqrtf(mean + args->eps));
  }
}

static inline void layernorm_body(const NormArgs* args) {
  for (size_t r = 0; r < args->rows; ++r) {
    const float* x = args->x + r * args->x_stride;
    // The mean in two steps: the second measures what rounding left of the first.
    const float rough = norm_sum<kSum>(x, args->n, 0.0f) / (float)args->n;
    const float mean = rough + norm_sum<kSum>(x, args->n, rough) / (float)args->n;
    const float variance = norm_sum<kSquares>(x, args->n, mean) / (float)args->n;
    norm_apply(args, x, args->y + r * args->y_stride, args->bias, mean, 1.0f / sqrtf(variance + args->eps));
  }
}

}  // namespace
