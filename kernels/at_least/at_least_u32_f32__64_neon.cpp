#include "kernels/at_least/body.h"
#include "kernels/common/vec_neon.h"

namespace {

struct ReachNeon {
  float32x4_t least;
  explicit ReachNeon(float bound) : least(vdupq_n_f32(bound)) {}
  // 0xff for each of sixteen that reach it, 0 else.
  inline uint8x16_t sixteen(const float* x) const {
    const uint32x4_t a = vcgeq_f32(vld1q_f32(x), least), b = vcgeq_f32(vld1q_f32(x + 4), least);
    const uint32x4_t c = vcgeq_f32(vld1q_f32(x + 8), least), d = vcgeq_f32(vld1q_f32(x + 12), least);
    const uint16x8_t ab = vuzp1q_u16(vreinterpretq_u16_u32(a), vreinterpretq_u16_u32(b));
    const uint16x8_t cd = vuzp1q_u16(vreinterpretq_u16_u32(c), vreinterpretq_u16_u32(d));
    return vuzp1q_u8(vreinterpretq_u8_u16(ab), vreinterpretq_u8_u16(cd));
  }
  inline uint64_t bits(const float* x) const {
    return v_bits_64(sixteen(x), sixteen(x + 16), sixteen(x + 32), sixteen(x + 48));
  }
  static inline void list(uint32_t* list, uint32_t base, uint64_t bits) { list_fours(list, base, bits); }
};

}  // namespace

extern "C" void at_least_u32_f32__64_neon(const AtLeastArgs* args) {
  at_least_body<ReachNeon>(args);
}
