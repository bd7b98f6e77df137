// The reference: the contract, literally.
#include "kernels/nearest/nearest.h"

extern "C" void nearest_u16_f32__1x1_scalar(const NearestArgs* args) {
  for (size_t i = 0; i < args->m; ++i) {
    const float* x = args->scores + i * args->stride;
    size_t best = 0;
    float largest = 0.0f;
    for (size_t j = 0; j < args->n; ++j) {
      const float score = args->bias != nullptr ? x[j] + args->bias[j] : x[j];
      if (j == 0 || score > largest) best = j, largest = score;
    }
    args->id[i * args->id_stride] = (uint16_t)best;
  }
}
