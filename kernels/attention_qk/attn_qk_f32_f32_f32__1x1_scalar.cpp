// The reference: one score at a time.
#include "kernels/attention_qk/attention_qk.h"

extern "C" void attn_qk_f32_f32_f32__1x1_scalar(const AttentionQkArgs* args) {
  for (size_t p = args->p0; p < args->p1; ++p) {
    const float* row = (const float*)((const char*)args->k + p * args->row_stride);
    for (size_t g = 0; g < args->heads; ++g) {
      const float* q = args->q + g * args->q_stride;
      float sum = 0;
      for (size_t d = 0; d < args->d; ++d) sum += q[d] * row[d];
      args->scores[g * args->scores_stride + p] = args->scale * sum;
    }
  }
}
