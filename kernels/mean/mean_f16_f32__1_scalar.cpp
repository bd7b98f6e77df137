// The reference. A product and a sum rounded apart would not give the other variants' bits.
#include <math.h>

#include "kernels/common/float_bits.h"
#include "kernels/mean/mean.h"

extern "C" void mean_f16_f32__1_scalar(const MeanArgs* args) {
  for (size_t i = 0; i < args->n; ++i) {
    float value = args->x[i];
    uint16_t* mean = args->mean + i * args->stride;
    if (args->weight != 1.0f) {
      const float old = f32_of_f16(*mean);
      value = fmaf(args->weight, value - old, old);
    }
    *mean = f16_of_f32(value);
  }
}
