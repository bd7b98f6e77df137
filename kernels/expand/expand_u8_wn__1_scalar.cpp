// The reference: the contract, literally. 8-bit codes stay unsigned, which the scalar gemm multiplies as they are.
#include "kernels/common/codes_scalar.h"
#include "kernels/expand/expand.h"

static int code_at(const ExpandArgs* args, size_t n, size_t k) {
  const QuantisedWeights& w = args->w;
  switch (args->layout) {
    case ExpandLayout::row:
      return code_in_run(w.codes + n * w.stride, w.bits, args->channels, k);
    case ExpandLayout::panel:
      return code_in_panel(w.codes + n / kPanelOutputs * w.stride, w.bits, n % kPanelOutputs, k);
    default:
      return code_in_run(w.codes + k * w.stride, w.bits, args->n, n);
  }
}

extern "C" void expand_u8_wn__1_scalar(const ExpandArgs* args) {
  const QuantisedWeights& w = args->w;
  const size_t steps = (args->k1 - args->k0) / 4;
  for (size_t r = 0; r < args->rows; ++r) {
    const size_t n = args->n0 + r;
    uint8_t* out = args->codes + r / 16 * steps * 64 + r % 16 * 4;
    for (size_t k = args->k0; k < args->k1; ++k) {
      out[(k - args->k0) / 4 * 64 + k % 4] = n < args->n ? (uint8_t)code_at(args, n, k) : (uint8_t)0;
    }
    for (size_t k = args->k0, i = 0; k < args->k1; k += w.group, ++i) {
      const size_t g = k / w.group;
      float s = 0.0f, z = 0.0f;
      if (n < args->n) {
        const size_t line = args->layout == ExpandLayout::row ? n : args->layout == ExpandLayout::panel ? n / 16 : g;
        const size_t at = args->layout == ExpandLayout::row ? g : args->layout == ExpandLayout::panel ? g * 16 + n % 16 : n;
        s = f32_of_f16(((const uint16_t*)((const char*)w.scales + line * w.scale_stride))[at]);
        z = zero_in_row(w.zeros != nullptr ? w.zeros + line * w.zero_stride : nullptr, w.bits, at);
      }
      args->scales[i * args->rows + r] = s;
      args->zeros[i * args->rows + r] = s * z;
    }
  }
}
