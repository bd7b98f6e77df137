// The reference: mean and variance in double, two passes.
#include <math.h>

#include "kernels/norm/norm.h"

extern "C" void layernorm_f32__1_scalar(const NormArgs* args) {
  for (size_t r = 0; r < args->rows; ++r) {
    const float* x = args->x + r * args->x_stride;
    float* y = args->y + r * args->y_stride;
    double sum = 0;
    for (size_t i = 0; i < args->n; ++i) sum += x[i];
    const double mean = sum / (double)args->n;
    double squares = 0;
    for (size_t i = 0; i < args->n; ++i) squares += (x[i] - mean) * (x[i] - mean);
    const double factor = 1.0 / sqrt(squares / (double)args->n + (double)args->eps);
    for (size_t i = 0; i < args->n; ++i) {
      const float normal = (float)((x[i] - mean) * factor);
      y[i] = normal * (args->weight != nullptr ? args->weight[i] : 1.0f) +
             (args->bias != nullptr ? args->bias[i] : 0.0f);
    }
  }
}
