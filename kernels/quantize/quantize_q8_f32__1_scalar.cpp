// The reference. Rounding to nearest even is the adder's: 1.5 * 2^23 + v has its unit in the last place at 1.
#include "kernels/common/float_bits.h"
#include "kernels/quantize/quantize.h"

// v within +-127 (or NaN, which the clamp makes -127).
static inline int8_t round_to_int8(float v) {
  v = v >= -127.0f ? v : -127.0f;
  v = v <= 127.0f ? v : 127.0f;
  const float magic = 12582912.0f;
  return (int8_t)(int32_t)(bits_of_f32(v + magic) - bits_of_f32(magic));
}

extern "C" void quantize_q8_f32__1_scalar(const QuantizeArgs* args) {
  const float smallest = 0x1p-100f;
  for (size_t m = 0; m < args->m; ++m) {
    const float* x = args->x + m * args->x_stride;
    int8_t* q = args->q + m * args->q_stride;
    for (size_t start = 0, g = 0; start < args->k_padded; start += args->group, ++g) {
      const size_t left = args->k_padded - start;
      const size_t end = start + (args->group < left ? args->group : left);
      const size_t real_end = end < args->k ? end : args->k;
      // The largest magnitude, compared as bits: a NaN is above infinity and so is never lost.
      uint32_t largest = 0;
      for (size_t i = start; i < real_end; ++i) {
        const uint32_t bits = bits_of_f32(x[args->gather != nullptr ? args->gather[i] : i]) & 0x7fffffffu;
        largest = bits > largest ? bits : largest;
      }
      float max = f32_of_bits(largest);
      if (max < smallest) max = 0.0f;
      const float inverse = max == 0.0f ? 0.0f : 127.0f / max;
      int32_t sum = 0;
      for (size_t i = start; i < end; ++i) {
        const float v = i < real_end ? x[args->gather != nullptr ? args->gather[i] : i] : 0.0f;
        q[i] = i < real_end ? round_to_int8(v * inverse) : (int8_t)0;
        sum += q[i];
      }
      args->scale[m * args->s_stride + g] = max / 127.0f;
      if (args->sum != nullptr) args->sum[m * args->s_stride + g] = sum;
    }
  }
}
