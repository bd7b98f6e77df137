#define MINNOW_VEC "kernels/attention/tile_avx512.h"
#include "kernels/attention/body.h"

extern "C" void attn_f32_f32_f32__4x4_avx512vnni(const AttentionArgs* args) {
  attention_body<FloatTile<RowF32>>(args);
}
