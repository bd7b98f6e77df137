#define MINNOW_VEC "kernels/attention/tile_avx2.h"
#include "kernels/attention/body.h"

extern "C" void attn_f32_f32_f16__4x2_avx2(const AttentionArgs* args) {
  attention_body<FloatTile<RowF16>>(args);
}
