// The body of the SIMD variants: two passes over a group, the second from the first-level cache.
#pragma once

#include MINNOW_VEC

#include "kernels/common/float_bits.h"
#include "kernels/quantize/quantize.h"

namespace {

// kLanes elements from i on; gathered or past the end ones through a small buffer.
static inline VecF quantize_input(const QuantizeArgs* args, const float* x, size_t i) {
  if (args->gather == nullptr) {
    if (i + kLanes <= args->k) return v_load(x + i);
    return i < args->k ? v_load_part(x + i, args->k - i, 0.0f) : v_zero();
  }
  float buffer[kLanes];
  for (size_t lane = 0; lane < kLanes; ++lane)
    buffer[lane] = i + lane < args->k ? x[args->gather[i + lane]] : 0.0f;
  return v_load(buffer);
}

static inline void quantize_body(const QuantizeArgs* args) {
  for (size_t m = 0; m < args->m; ++m) {
    const float* x = args->x + m * args->x_stride;
    int8_t* q = args->q + m * args->q_stride;
    for (size_t start = 0, g = 0; start < args->k_padded; start += args->group, ++g) {
      const size_t left = args->k_padded - start;
      const size_t end = start + (args->group < left ? args->group : left);
      // Magnitudes as bits: a NaN is above infinity and so is never lost.
      VecI largest = vi_zero();
      for (size_t i = start; i < end; i += kLanes)
        largest = vi_max(largest, vi_abs_bits(quantize_input(args, x, i)));
      float max = f32_of_bits((uint32_t)vi_hmax(largest));
      if (max < 0x1p-100f) max = 0.0f;
      const float inverse = max == 0.0f ? 0.0f : 127.0f / max;
      const VecF factor = v_set1(inverse);
      const VecF bound = v_set1(127.0f);
      VecI sum = vi_zero();
      for (size_t i = start; i < end; i += kLanes) {
        VecF v = v_mul(quantize_input(args, x, i), factor);
        v = v_min(v_max(v, v_set1(-127.0f)),
                  bound);  // this order makes a NaN -127 on x86, and vi_nearest 0 on Arm
        const VecI codes = vi_nearest(v);
        vi_store_i8(q + i, codes);
        sum = vi_add(sum, codes);
      }
      args->scale[m * args->s_stride + g] = max / 127.0f;
      if (args->sum != nullptr) args->sum[m * args->s_stride + g] = vi_hsum(sum);
    }
  }
}

}  // namespace
