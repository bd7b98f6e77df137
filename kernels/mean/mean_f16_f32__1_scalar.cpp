// The reference. A product and a sum rounded apart would not give the other variants' bits.
#include <math.h>

#include "kernels/common/float_bits.h"
#include "kernels/mean/mean.h"

extern "C" void mean_f16_f32__1_scalar(const MeanArgs* args) {
  for (size_t i = 0; i < args->n; ++i) {
    float value = args->x[i];
    if (args->weight != 1.0f) {
      const float old = f32_of_f16(args->mean[i]);
      value = fmaf(args->weight, value - old, old);
    }
    args->mean[i] = f16_of_f32(value);
  }
}
