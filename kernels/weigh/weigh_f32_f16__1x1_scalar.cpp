// The reference: one head and one row of v at a time, sums in double.
#include <math.h>

#include "kernels/common/float_bits.h"
#include "kernels/weigh/weigh.h"

namespace {

static inline double exponent(const WeighArgs* args, size_t g, size_t m) {
  return (double)args->unit * (double)args->x[g * args->x_stride + m] + (double)args->bias[m];
}

}  // namespace

extern "C" void weigh_f32_f16__1x1_scalar(const WeighArgs* args) {
  for (size_t g = 0; g < args->heads; ++g) {
    float* out = args->out + g * args->out_stride;
    float* weights = (float*)args->scratch;
    double top = -INFINITY, total = 0;
    for (size_t m = 0; m < args->n; ++m) {
      const double x = exponent(args, g, m);
      if (!(x <= top)) top = x;  // larger, or NaN
    }
    for (size_t m = 0; m < args->n; ++m) {
      const double x = exponent(args, g, m);
      weights[m] = x == -INFINITY ? 0.0f : expf((float)((x - top) * 0.69314718055994531));
      total += (double)weights[m];
    }
    for (size_t d = 0; d < args->dim; ++d) {
      double sum = 0;
      for (size_t m = 0; m < args->n; ++m) {
        if (weights[m] == 0.0f) continue;
        const uint16_t* row = (const uint16_t*)((const char*)args->v + m % args->rows * args->row_stride);
        sum += (double)weights[m] * (double)f32_of_f16(row[d]);
      }
      out[d] = (float)(total == 0 ? 0 : sum / total);
    }
    if (args->max != nullptr) args->max[g] = (float)top;
    if (args->sum != nullptr) args->sum[g] = (float)total;
  }
}
