// The reference: the contract, literally.
#include "kernels/common/float_bits.h"
#include "kernels/linear_q8/linear_q8.h"

extern "C" void linear_f32_q8_w8__1x1_scalar(const LinearQ8Args* args) {
  for (size_t n = args->n0; n < args->n1; ++n) {
    const uint8_t* codes = args->w + n * args->w_stride;
    const uint16_t* scales = (const uint16_t*)((const char*)args->ws + n * args->ws_stride);
    const uint8_t* zeros = args->wz != nullptr ? args->wz + n * args->wz_stride : nullptr;
    for (size_t m = 0; m < args->m; ++m) {
      const int8_t* x = args->xq + m * args->xq_stride;
      const float* x_scales = args->xs + m * args->xs_stride;
      const int32_t* x_sums = args->xsum + m * args->xs_stride;
      float total = 0;
      for (size_t k = 0, g = 0; k < args->k; k += args->group, ++g) {
        const size_t end = k + args->group < args->k ? k + args->group : args->k;
        int32_t dot = 0;
        for (size_t i = k; i < end; ++i) dot += (int32_t)codes[i] * x[i];
        dot -= (zeros != nullptr ? (int32_t)zeros[g] : 128) * x_sums[g];
        total += f32_of_f16(scales[g]) * x_scales[g] * (float)dot;
      }
      float* y = args->y + m * args->y_stride + n;
      *y = total + (args->accumulate ? *y : args->bias != nullptr ? args->bias[n] : 0.0f);
    }
  }
}
