// The reference: the mean in double.
#include <math.h>

#include "kernels/norm/norm.h"

extern "C" void rmsnorm_f32__1_scalar(const NormArgs* args) {
  for (size_t r = 0; r < args->rows; ++r) {
    const float* x = args->x + r * args->x_stride;
    float* y = args->y + r * args->y_stride;
    double squares = 0;
    for (size_t i = 0; i < args->n; ++i) squares += (double)x[i] * x[i];
    const float factor = (float)(1.0 / sqrt(squares / (double)args->n + (double)args->eps));
    for (size_t i = 0; i < args->n; ++i) {
      y[i] = x[i] * factor * (args->weight != nullptr ? args->weight[i] : 1.0f);
    }
  }
}
