// The reference: the contract, literally.
#include "kernels/gemm/gemm.h"

extern "C" void gemm_f32_q8_u8__1x1_scalar(const GemmArgs* args) {
  for (size_t m = 0; m < args->m; ++m) {
    const int8_t* x = args->x.codes + m * args->x.stride;
    for (size_t r = 0; r < args->n; ++r) {
      const uint8_t* codes = args->codes + r / 16 * args->k * 16 + r % 16 * 4;
      float total = 0;
      for (size_t k = 0, g = 0; k < args->k; k += args->group, ++g) {
        const size_t end = args->k - k < args->group ? args->k : k + args->group;
        int32_t dot = 0;
        for (size_t i = k; i < end; ++i) dot += (int32_t)codes[i / 4 * 64 + i % 4] * x[i];
        const size_t at = m * args->x.group_stride + g, factor = g * args->rows + r;
        total += args->scales[factor] * args->x.scales[at] * (float)dot - args->zeros[factor] * args->x.zs[at];
      }
      float* y = args->y + m * args->y_stride + r;
      *y = total + (args->accumulate ? *y : args->bias != nullptr ? args->bias[r] : 0.0f);
    }
  }
}
