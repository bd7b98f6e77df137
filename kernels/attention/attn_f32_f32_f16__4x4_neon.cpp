#define MINNOW_VEC "kernels/attention/tile_neon.h"
#include "kernels/attention/body.h"

extern "C" void attn_f32_f32_f16__4x4_neon(const AttentionArgs* args) {
  attention_body<FloatTile<RowF16>>(args);
}
