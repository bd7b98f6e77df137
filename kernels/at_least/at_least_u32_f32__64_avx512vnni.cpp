#include "kernels/at_least/body.h"
#include "kernels/common/vec_avx512.h"

namespace {

struct Reach512 {
  __m512 least;
  explicit Reach512(float bound) : least(_mm512_set1_ps(bound)) {}
  inline uint64_t bits(const float* x) const {
    uint64_t bits = 0;
    for (int i = 0; i < 4; ++i)
      bits |= (uint64_t)_mm512_cmp_ps_mask(_mm512_loadu_ps(x + 16 * i), least, _CMP_GE_OQ) << 16 * i;
    return bits;
  }
  static inline void list(uint32_t* list, uint32_t base, uint64_t bits) { v_list_64(list, base, bits); }
};

}  // namespace

extern "C" void at_least_u32_f32__64_avx512vnni(const AtLeastArgs* args) {
  at_least_body<Reach512>(args);
}
