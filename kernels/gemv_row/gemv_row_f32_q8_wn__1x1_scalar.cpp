// The reference: the contract, literally.
#include "kernels/common/codes_scalar.h"
#include "kernels/gemv_row/gemv_row.h"

extern "C" void gemv_row_f32_q8_wn__1x1_scalar(const GemvRowArgs* args) {
  const QuantisedWeights& w = args->w;
  for (size_t at = args->n0; at < args->n1; ++at) {
    const size_t n = args->rows != nullptr ? args->rows[at] : at;
    const uint8_t* codes = w.codes + n * w.stride;
    const uint16_t* scales = (const uint16_t*)((const char*)w.scales + n * w.scale_stride);
    const uint8_t* zeros = w.zeros != nullptr ? w.zeros + n * w.zero_stride : nullptr;
    float total = 0;
    for (size_t k = 0, g = 0; k < args->k; k += w.group, ++g) {
      const size_t end = args->k - k < w.group ? args->k : k + w.group;
      int32_t dot = 0;
      for (size_t i = k; i < end; ++i) dot += code_in_run(codes, w.bits, args->k, i) * args->x.codes[i];
      const float offset = zero_in_row(zeros, w.bits, g) * args->x.zs[g];
      total += f32_of_f16(scales[g]) * (args->x.scales[g] * (float)dot - offset);
    }
    args->y[n] = total + (args->accumulate ? args->y[n] : args->bias != nullptr ? args->bias[n] : 0.0f);
    if (args->factors != nullptr) args->y[n] *= args->factors[n];
  }
}
