// The reference.
#include "kernels/common/float_bits.h"
#include "kernels/convert/convert.h"

extern "C" void convert_f16_f32__1_scalar(const ConvertArgs* args) {
  const float* src = (const float*)args->src;
  uint16_t* dst = (uint16_t*)args->dst;
  for (size_t i = 0; i < args->n; ++i) dst[i] = f16_of_f32(src[i]);
}
