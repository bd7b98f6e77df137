#define MINNOW_VEC "kernels/common/vec_neon.h"
#include "kernels/linear_q8/body.h"

namespace {

struct NeonDotprod {
  static constexpr int kBytes = 16;
  typedef int8x16_t Codes;
  static inline int8x16_t load_w(const uint8_t* p) {  // q - 128
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(p), vdupq_n_u8(0x80)));
  }
  static inline int8x16_t load_x(const int8_t* p) { return vld1q_s8(p); }
  static inline VecI start(int32_t) { return vdupq_n_s32(0); }
  static inline VecI dot(VecI acc, int8x16_t w, int8x16_t x) { return vdotq_s32(acc, w, x); }
  static inline VecF to_float(VecI acc) { return vcvtq_f32_s32(acc); }
};

}  // namespace

extern "C" void linear_f32_q8_w8__4x4_neon_dotprod(const LinearQ8Args* args) {
  linear_q8_body<Q8Rows<NeonDotprod>>(args);
}
