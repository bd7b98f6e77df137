// The reference: the contract, literally.
#include <math.h>

#include "kernels/threshold/threshold.h"

extern "C" void threshold_f32__1_scalar(const ThresholdArgs* args) {
  size_t kept = 0;
  for (size_t i = 0; i < args->n; ++i) {
    const float x = args->x[i];
    const bool keep = !(fabsf(x) <= args->scale * args->thresholds[i]);
    args->out[i] = keep ? x : 0.0f;
    if (keep && args->list != nullptr) args->list[kept] = args->base + (uint32_t)i;
    kept += keep;
  }
  *args->kept = kept;
}
