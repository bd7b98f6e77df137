#include <immintrin.h>

#include "kernels/at_least/body.h"

namespace {

struct Reach256 {
  __m256 least;
  explicit Reach256(float bound) : least(_mm256_set1_ps(bound)) {}
  inline uint64_t bits(const float* x) const {
    uint64_t bits = 0;
    for (int i = 0; i < 8; ++i) {
      const __m256 reached = _mm256_cmp_ps(_mm256_loadu_ps(x + 8 * i), least, _CMP_GE_OQ);
      bits |= (uint64_t)(uint32_t)_mm256_movemask_ps(reached) << 8 * i;
    }
    return bits;
  }
  static inline void list(uint32_t* list, uint32_t base, uint64_t bits) { list_fours(list, base, bits); }
};

}  // namespace

extern "C" void at_least_u32_f32__64_avx2(const AtLeastArgs* args) {
  at_least_body<Reach256>(args);
}
