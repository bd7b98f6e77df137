// The reference.
#include "kernels/common/float_bits.h"
#include "kernels/convert/convert.h"

extern "C" void convert_f32_bf16__1_scalar(const ConvertArgs* args) {
  const uint16_t* src = (const uint16_t*)args->src;
  float* dst = (float*)args->dst;
  for (size_t i = 0; i < args->n; ++i) dst[i] = f32_of_bf16(src[i]);
}
