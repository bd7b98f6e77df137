// The reference: one output at a time, four partial sums.
#include "kernels/common/float_bits.h"
#include "kernels/linear_float/linear_float.h"

extern "C" void linear_f32_f32_f16__1x1_scalar(const LinearFloatArgs* args) {
  for (size_t n = args->n0; n < args->n1; ++n) {
    const uint16_t* row = (const uint16_t*)((const char*)args->w + n * args->w_stride);
    for (size_t m = 0; m < args->m; ++m) {
      const float* x = args->x + m * args->x_stride;
      float sum[4] = {0, 0, 0, 0};
      for (size_t k = 0; k < args->k; k += 4) {
        for (size_t lane = 0; lane < 4; ++lane) sum[lane] += x[k + lane] * f32_of_f16(row[k + lane]);
      }
      const float total = (sum[0] + sum[1]) + (sum[2] + sum[3]);
      float* y = args->y + m * args->y_stride + n;
      *y = total + (args->accumulate ? *y : args->bias != nullptr ? args->bias[n] : 0.0f);
    }
  }
}
