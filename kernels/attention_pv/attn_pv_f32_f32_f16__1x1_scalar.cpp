// The reference: one row and one head at a time.
#include "kernels/attention_pv/attention_pv.h"
#include "kernels/common/float_bits.h"

extern "C" void attn_pv_f32_f32_f16__1x1_scalar(const AttentionPvArgs* args) {
  for (size_t g = 0; g < args->heads; ++g) {
    float* out = args->out + g * args->out_stride;
    for (size_t d = 0; d < args->d && !args->accumulate; ++d) out[d] = 0.0f;
    for (size_t p = args->p0; p < args->p1; ++p) {
      const uint16_t* row = (const uint16_t*)((const char*)args->v + p * args->row_stride);
      const float weight = args->w[g * args->w_stride + p];
      for (size_t d = 0; d < args->d; ++d) out[d] += weight * f32_of_f16(row[d]);
    }
  }
}
