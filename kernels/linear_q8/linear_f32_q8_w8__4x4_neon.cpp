#define MINNOW_VEC "kernels/common/vec_neon.h"
#include "kernels/linear_q8/body.h"

namespace {

// Two products fit int16: 2 * 128 * 127 = 32512, since |x| <= 127. Each lane takes one from either half.
struct Neon {
  static constexpr int kBytes = 16;
  typedef int8x16_t Codes;
  static inline int8x16_t load_w(const uint8_t* p) {  // q - 128
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(p), vdupq_n_u8(0x80)));
  }
  static inline int8x16_t load_x(const int8_t* p) { return vld1q_s8(p); }
  static inline VecI start(int32_t) { return vdupq_n_s32(0); }
  static inline VecI dot(VecI acc, int8x16_t w, int8x16_t x) {
    return vpadalq_s16(acc, vmlal_high_s8(vmull_s8(vget_low_s8(w), vget_low_s8(x)), w, x));
  }
  static inline VecF to_float(VecI acc) { return vcvtq_f32_s32(acc); }
};

}  // namespace

extern "C" void linear_f32_q8_w8__4x4_neon(const LinearQ8Args* args) {
  linear_q8_body<Q8Rows<Neon>>(args);
}
