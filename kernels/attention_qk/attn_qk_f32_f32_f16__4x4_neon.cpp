#define MINNOW_VEC "kernels/common/vec_neon.h"
#include "kernels/attention_qk/body.h"

extern "C" void attn_qk_f32_f32_f16__4x4_neon(const AttentionQkArgs* args) {
  attention_qk_body<RowF16>(args, false);
}
