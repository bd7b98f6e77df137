#include "kernels/collect/body.h"
#include "kernels/common/vec_avx512.h"

namespace {

// The bitmap is 64 words of 16 bits in two registers: one lookup for 32 ids, by their lowest bits.
struct Lookup512 {
  __m512i low, high, above;
  Lookup512(const uint32_t* wanted, uint16_t most)
      : low(_mm512_load_si512(wanted)),
        high(_mm512_load_si512(wanted + 16)),
        above(_mm512_set1_epi16((short)most)) {}
  inline uint32_t half(const uint16_t* ids) const {
    const __m512i id = _mm512_loadu_si512(ids);
    const __m512i word = _mm512_permutex2var_epi16(low, _mm512_srli_epi16(id, 4), high);
    const __m512i place = _mm512_and_si512(id, _mm512_set1_epi16(15));
    return _mm512_test_epi16_mask(word, _mm512_sllv_epi16(_mm512_set1_epi16(1), place)) |
           _mm512_cmpgt_epu16_mask(id, above);
  }
  inline uint64_t bits(const uint16_t* ids) const { return half(ids) | (uint64_t)half(ids + 32) << 32; }
  static inline void list(uint32_t* list, uint32_t base, uint64_t bits) { v_list_64(list, base, bits); }
};

}  // namespace

extern "C" void collect_u32_u16__64_avx512vnni(const CollectArgs* args) {
  collect_body<Lookup512>(args);
}
