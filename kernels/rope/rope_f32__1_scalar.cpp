// The reference.
#include "kernels/rope/rope.h"

extern "C" void rope_f32__1_scalar(const RopeArgs* args) {
  const size_t half = args->r / 2;
  for (size_t h = 0; h < args->heads; ++h) {
    float* x = args->x + h * args->stride;
    for (size_t j = 0; j < half; ++j) {
      const float a = x[j];
      const float b = x[j + half];
      x[j] = a * args->cos[j] - b * args->sin[j];
      x[j + half] = b * args->cos[j] + a * args->sin[j];
    }
  }
}
