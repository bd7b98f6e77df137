// The reference: the contract, literally.
#include "kernels/common/codes_scalar.h"
#include "kernels/gemv_channel/gemv_channel.h"

extern "C" void gemv_channel_f32_q8_wn__1x1_scalar(const GemvChannelArgs* args) {
  const QuantisedWeights& w = args->w;
  for (size_t n = 0; n < args->n; ++n) {
    float total = 0;
    for (size_t k = args->k0; k < args->k1; k += w.group) {
      const size_t g = k / w.group, end = args->k1 - k < w.group ? args->k1 : k + w.group;
      const uint16_t* scales = (const uint16_t*)((const char*)w.scales + g * w.scale_stride);
      const uint8_t* zeros = w.zeros != nullptr ? w.zeros + g * w.zero_stride : nullptr;
      int32_t dot = 0;
      const size_t first = args->list != nullptr ? args->starts[g] : k;
      const size_t last = args->list != nullptr ? args->starts[g + 1] : end;
      for (size_t at = first; at < last; ++at) {
        const size_t i = args->list != nullptr ? args->list[at] : at;
        dot += code_in_run(w.codes + i * w.stride, w.bits, args->n, n) * args->x.codes[i];
      }
      const float offset = zero_in_row(zeros, w.bits, n) * args->x.zs[g];
      total += f32_of_f16(scales[n]) * (args->x.scales[g] * (float)dot - offset);
    }
    args->y[n] = total + (args->accumulate ? args->y[n] : 0.0f);
  }
}
