// Pairs of int16: maddubs would saturate (2 * 255 * 127), and keeping it from that costs what widening does.
#define MINNOW_VEC "kernels/attention/tile_avx2.h"
#include "kernels/attention/body.h"

namespace {

struct Q8Tile {
  typedef int8_t Element;
  typedef int16_t Weight;
  typedef int16_t Query;
  typedef VecI Acc;
  typedef VecI Lanes;
  static constexpr int kUnit = 2, kPositions = 128, kRows = 4, kVecs = 2;
  static constexpr bool kRounded = true, kShifted = false;

  static inline VecI load_k(const int8_t* p, size_t) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)p));
  }
  // Vector i, block b of 128 bits: dimensions 8 b + 4 i to 8 b + 4 i + 3.
  static inline void pack_v(const int8_t* const* rows, size_t left, VecI* out) {
    const VecI a = load_k(rows[0], left), b = load_k(rows[1], left);
    out[0] = _mm256_unpacklo_epi16(a, b);
    out[1] = _mm256_unpackhi_epi16(a, b);
  }
  static inline void unpermute(VecF* v) {
    const VecF a = v[0], b = v[1];
    v[0] = _mm256_permute2f128_ps(a, b, 0x20);
    v[1] = _mm256_permute2f128_ps(a, b, 0x31);
  }
  static inline VecI load(const uint32_t* p) { return vi_load(p); }
  static inline VecI spread(const uint32_t* p) { return _mm256_set1_epi32((int)*p); }
  static inline VecI start(int32_t) { return vi_zero(); }
  static inline VecI value_start(const int32_t*) { return vi_zero(); }
  // The sum not by its intrinsic: GCC 12 would copy and spill accumulators in a loop's every turn.
  static inline VecI dot(VecI acc, VecI a, VecI b) {
    asm("vpaddd %1, %0, %0" : "+x"(acc) : "x"(_mm256_madd_epi16(a, b)));
    return acc;
  }
  static inline VecI dot_k(VecI acc, VecI k, VecI q) { return dot(acc, k, q); }
  static inline VecI dot_v(VecI acc, VecI v, VecI w) { return dot(acc, v, w); }
  static inline VecF to_float(VecI acc) { return _mm256_cvtepi32_ps(acc); }
  static inline void store_query(int16_t* p, VecI codes) {
    _mm_storeu_si128((__m128i*)p,
                     _mm_packs_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256(codes, 1)));
  }
  static inline void store_weights(int16_t* p, const float* w, VecF factor) {
    for (int i = 0; i < kPositions / 8; i += 2) {
      const VecI a = vi_nearest(v_mul(v_load(w + 8 * i), factor)),
                 b = vi_nearest(v_mul(v_load(w + 8 * (i + 1)), factor));
      _mm256_storeu_si256((__m256i*)(p + 8 * i), _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8));
    }
  }
};

}  // namespace

extern "C" void attn_f32_f32_q8__4x2_avx2(const AttentionArgs* args) {
  attention_body<Q8Tile>(args);
}
