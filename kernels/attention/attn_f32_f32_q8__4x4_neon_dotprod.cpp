#define MINNOW_VEC "kernels/attention/tile_neon.h"
#include "kernels/attention/body.h"

namespace {

struct Sdot {
  static inline VecI dot(VecI acc, int8x16_t a, int8x16_t b) { return vdotq_s32(acc, a, b); }
};

}  // namespace

extern "C" void attn_f32_f32_q8__4x4_neon_dotprod(const AttentionArgs* args) {
  attention_body<SignedTile<Sdot>>(args);
}
