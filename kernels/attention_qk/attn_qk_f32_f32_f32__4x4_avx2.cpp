#define MINNOW_VEC "kernels/common/vec_avx2.h"
#include "kernels/attention_qk/body.h"

extern "C" void attn_qk_f32_f32_f32__4x4_avx2(const AttentionQkArgs* args) {
  attention_qk_body<RowF32>(args, false);
}
