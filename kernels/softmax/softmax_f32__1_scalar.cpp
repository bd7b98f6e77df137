// The reference: libm, the sum in double.
#include <math.h>

#include "kernels/softmax/softmax.h"

extern "C" void softmax_f32__1_scalar(const SoftmaxArgs* args) {
  for (size_t r = 0; r < args->rows; ++r) {
    float* x = args->x + r * args->stride;
    float max = -INFINITY;
    for (size_t i = 0; i < args->n; ++i) {
      if (args->cap != 0.0f) x[i] = args->cap * tanhf(x[i] / args->cap);
      max = x[i] > max ? x[i] : max;
    }
    double sum = 0;
    for (size_t i = 0; i < args->n; ++i) {
      x[i] = expf(x[i] - max);
      sum += (double)x[i];
    }
    const float factor = (float)(1.0 / sum);
    for (size_t i = 0; i < args->n; ++i) x[i] *= factor;
  }
}
