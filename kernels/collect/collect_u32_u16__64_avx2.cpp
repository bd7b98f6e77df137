#include <immintrin.h>

#include "kernels/collect/body.h"

namespace {

// The bitmap is 128 bytes, sixteen to a register. A lookup gives zero for a negative index and takes the
// lowest four bits of any other, so a register that holds the difference to the one before it puts right what
// that one said for indices beyond it: no blends, which are two or three operations on some machines.
struct Lookup256 {
  __m256i steps[8], above;
  Lookup256(const uint32_t* wanted, uint16_t most) : above(_mm256_set1_epi16((short)most)) {
    __m256i before = _mm256_setzero_si256();
    for (int i = 0; i < 8; ++i) {
      const __m256i bytes = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i*)wanted + i));
      steps[i] = _mm256_xor_si256(before, bytes);
      before = bytes;
    }
  }
  inline uint32_t half(const uint16_t* ids) const {
    const __m256i zero = _mm256_setzero_si256(), lowest = _mm256_set1_epi16(kCollectIds - 1);
    __m256i a = _mm256_loadu_si256((const __m256i*)ids), b = _mm256_loadu_si256((const __m256i*)ids + 1);
    const __m256i others = _mm256_packs_epi16(_mm256_cmpeq_epi16(_mm256_subs_epu16(a, above), zero),
                                              _mm256_cmpeq_epi16(_mm256_subs_epu16(b, above), zero));
    a = _mm256_and_si256(a, lowest), b = _mm256_and_si256(b, lowest);
    __m256i at = _mm256_packus_epi16(_mm256_srli_epi16(a, 3), _mm256_srli_epi16(b, 3));
    __m256i byte = _mm256_shuffle_epi8(steps[0], at);
    for (int i = 1; i < 8; ++i) {
      at = _mm256_sub_epi8(at, _mm256_set1_epi8(16));
      byte = _mm256_xor_si256(byte, _mm256_shuffle_epi8(steps[i], at));
    }
    const __m256i seven = _mm256_set1_epi16(7);
    const __m256i place = _mm256_packus_epi16(_mm256_and_si256(a, seven), _mm256_and_si256(b, seven));
    const __m256i bit = _mm256_shuffle_epi8(_mm256_set1_epi64x((long long)0x8040201008040201u), place);
    __m256i wanted = _mm256_cmpeq_epi8(_mm256_and_si256(byte, bit), bit);
    wanted = _mm256_or_si256(wanted, _mm256_cmpeq_epi8(others, zero));
    // Packing worked within halves of registers.
    return (uint32_t)_mm256_movemask_epi8(_mm256_permute4x64_epi64(wanted, 0xd8));
  }
  inline uint64_t bits(const uint16_t* ids) const { return half(ids) | (uint64_t)half(ids + 32) << 32; }
  static inline void list(uint32_t* list, uint32_t base, uint64_t bits) { list_fours(list, base, bits); }
};

}  // namespace

extern "C" void collect_u32_u16__64_avx2(const CollectArgs* args) {
  collect_body<Lookup256>(args);
}
