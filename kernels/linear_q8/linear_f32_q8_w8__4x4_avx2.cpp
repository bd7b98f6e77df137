#define MINNOW_VEC "kernels/common/vec_avx2.h"
#include "kernels/linear_q8/body.h"

namespace {

// maddubs needs an unsigned and a signed side and saturates at 32767. Codes become signed, w = q - 128, and
// the sign moves over: |w| * (x with the sign of w). Pairs reach 2 * 128 * 127 = 32512 and do not saturate,
// since |x| <= 127.
struct Avx2 {
  static constexpr int kBytes = 32;
  struct Codes {
    __m256i magnitude, sign;
  };
  static inline Codes load_w(const uint8_t* p) {
    const __m256i codes = _mm256_loadu_si256((const __m256i*)p);
    const __m256i w = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
    return {_mm256_abs_epi8(w), w};
  }
  static inline __m256i load_x(const int8_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
  static inline VecI start(int32_t) { return _mm256_setzero_si256(); }
  static inline VecI dot(VecI acc, Codes w, __m256i x) {
    const __m256i pairs = _mm256_maddubs_epi16(w.magnitude, _mm256_sign_epi8(x, w.sign));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  static inline VecF to_float(VecI acc) { return _mm256_cvtepi32_ps(acc); }
};

}  // namespace

extern "C" void linear_f32_q8_w8__4x4_avx2(const LinearQ8Args* args) {
  linear_q8_body<Q8Rows<Avx2>>(args);
}
