#define MINNOW_VEC "kernels/common/vec_avx2.h"
#include "kernels/linear_q8/body.h"

namespace {

// dpbusd takes the unsigned codes as they are; the zero point enters as the first lane's start.
struct AvxVnni {
  static constexpr int kBytes = 32;
  typedef __m256i Codes;
  static inline __m256i load_w(const uint8_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
  static inline __m256i load_x(const int8_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
  static inline VecI start(int32_t sum_x) {
    return _mm256_zextsi128_si256(_mm_cvtsi32_si128((int32_t)(-128u * (uint32_t)sum_x)));
  }
  static inline VecI dot(VecI acc, __m256i w, __m256i x) { return _mm256_dpbusd_avx_epi32(acc, w, x); }
  static inline VecF to_float(VecI acc) { return _mm256_cvtepi32_ps(acc); }
};

}  // namespace

extern "C" void linear_f32_q8_w8__4x4_avxvnni(const LinearQ8Args* args) {
  linear_q8_body<Q8Rows<AvxVnni>>(args);
}
