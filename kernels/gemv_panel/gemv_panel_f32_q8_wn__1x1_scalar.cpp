// The reference: the contract, literally.
#include "kernels/common/codes_scalar.h"
#include "kernels/gemv_panel/gemv_panel.h"

extern "C" void gemv_panel_f32_q8_wn__1x1_scalar(const GemvPanelArgs* args) {
  const QuantisedWeights& w = args->w;
  for (size_t n = args->n0; n < args->n1; ++n) {
    const size_t p = n / kPanelOutputs, lane = n % kPanelOutputs;
    const uint8_t* codes = w.codes + p * w.stride;
    const uint16_t* scales = (const uint16_t*)((const char*)w.scales + p * w.scale_stride);
    const uint8_t* zeros = w.zeros != nullptr ? w.zeros + p * w.zero_stride : nullptr;
    for (size_t m = 0; m < args->m; ++m) {
      const int8_t* x = args->x.codes + m * args->x.stride;
      float total = 0;
      for (size_t k = 0, g = 0; k < args->k; k += w.group, ++g) {
        const size_t end = args->k - k < w.group ? args->k : k + w.group;
        int32_t dot = 0;
        for (size_t i = k; i < end; ++i) dot += code_in_panel(codes, w.bits, lane, i) * x[i];
        const size_t at = m * args->x.group_stride + g;
        const float offset = zero_in_row(zeros, w.bits, g * kPanelOutputs + lane) * args->x.zs[at];
        total += f32_of_f16(scales[g * kPanelOutputs + lane]) * (args->x.scales[at] * (float)dot - offset);
      }
      float* y = args->y + m * args->y_stride + n;
      *y = total + (args->accumulate ? *y : args->bias != nullptr ? args->bias[n] : 0.0f);
    }
  }
}
