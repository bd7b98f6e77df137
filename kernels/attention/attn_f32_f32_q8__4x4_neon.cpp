#define MINNOW_VEC "kernels/attention/tile_neon.h"
#include "kernels/attention/body.h"

namespace {

// Two products fit int16 (2 * 128 * 127 = 32512): added in pairs, then in pairs of pairs.
struct Widening {
  static inline VecI dot(VecI acc, int8x16_t a, int8x16_t b) {
    const int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
    return vpadalq_s16(acc, vpaddq_s16(low, vmull_high_s8(a, b)));
  }
};

}  // namespace

extern "C" void attn_f32_f32_q8__4x4_neon(const AttentionArgs* args) {
  attention_body<SignedTile<Widening>>(args);
}
