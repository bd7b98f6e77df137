// The reference: one row and one head at a time.
#include "kernels/attention_pv/attention_pv.h"

extern "C" void attn_pv_f32_f32_q8__1x1_scalar(const AttentionPvArgs* args) {
  for (size_t g = 0; g < args->heads; ++g) {
    float* out = args->out + g * args->out_stride;
    for (size_t d = 0; d < args->d && !args->accumulate; ++d) out[d] = 0.0f;
    for (size_t p = args->p0; p < args->p1; ++p) {
      const int8_t* row = (const int8_t*)((const char*)args->v + p * args->row_stride);
      const float row_scale = *(const float*)((const char*)args->row_scales + p * args->row_scale_stride);
      const float weight = args->w[g * args->w_stride + p] * row_scale;
      for (size_t d = 0; d < args->d; ++d) out[d] += weight * (float)row[d];
    }
  }
}
