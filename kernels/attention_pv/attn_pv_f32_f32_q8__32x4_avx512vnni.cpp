#define MINNOW_VEC "kernels/common/vec_avx512.h"
#include "kernels/attention_pv/body.h"

extern "C" void attn_pv_f32_f32_q8__32x4_avx512vnni(const AttentionPvArgs* args) {
  attention_pv_body<RowI8>(args, true);
}
