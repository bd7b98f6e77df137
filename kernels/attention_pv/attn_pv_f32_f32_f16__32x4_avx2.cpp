#define MINNOW_VEC "kernels/common/vec_avx2.h"
#include "kernels/attention_pv/body.h"

extern "C" void attn_pv_f32_f32_f16__32x4_avx2(const AttentionPvArgs* args) {
  attention_pv_body<RowF16>(args, false);
}
