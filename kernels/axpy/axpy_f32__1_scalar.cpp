// The reference.
#include "kernels/axpy/axpy.h"

extern "C" void axpy_f32__1_scalar(const AxpyArgs* args) {
  for (size_t i = 0; i < args->n; ++i) {
    const float old = args->b != 0.0f ? args->b * args->y[i] : 0.0f;
    args->y[i] = args->x != nullptr ? args->a * args->x[i] + old : old;
  }
}
