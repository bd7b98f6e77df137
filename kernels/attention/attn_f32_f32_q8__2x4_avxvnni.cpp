// As on AVX-512, with eight lanes and half the registers.
#define MINNOW_VEC "kernels/attention/tile_avx2.h"
#include "kernels/attention/body.h"

namespace {

struct Q8Tile {
  typedef int8_t Element;
  typedef uint8_t Weight;
  typedef int8_t Query;
  typedef VecI Acc;
  typedef VecI Lanes;
  static constexpr int kUnit = 4, kPositions = 128, kRows = 2, kVecs = 4;
  static constexpr bool kRounded = true, kShifted = false;

  static inline VecI load_k(const int8_t* p, size_t) {
    return _mm256_xor_si256(_mm256_loadu_si256((const __m256i*)p), _mm256_set1_epi8(-128));
  }
  // Vector i, block b of 128 bits: dimensions 16 b + 4 i to 16 b + 4 i + 3.
  static inline void pack_v(const int8_t* const* rows, size_t, VecI* out) {
    VecI row[4];
    for (int i = 0; i < 4; ++i) row[i] = _mm256_loadu_si256((const __m256i*)rows[i]);
    const VecI ab0 = _mm256_unpacklo_epi8(row[0], row[1]), ab1 = _mm256_unpackhi_epi8(row[0], row[1]);
    const VecI cd0 = _mm256_unpacklo_epi8(row[2], row[3]), cd1 = _mm256_unpackhi_epi8(row[2], row[3]);
    out[0] = _mm256_unpacklo_epi16(ab0, cd0);
    out[1] = _mm256_unpackhi_epi16(ab0, cd0);
    out[2] = _mm256_unpacklo_epi16(ab1, cd1);
    out[3] = _mm256_unpackhi_epi16(ab1, cd1);
  }
  static inline void unpermute(VecF* v) {
    const VecF a = v[0], b = v[1], c = v[2], d = v[3];
    v[0] = _mm256_permute2f128_ps(a, b, 0x20);
    v[1] = _mm256_permute2f128_ps(c, d, 0x20);
    v[2] = _mm256_permute2f128_ps(a, b, 0x31);
    v[3] = _mm256_permute2f128_ps(c, d, 0x31);
  }
  static inline VecI load(const uint32_t* p) { return vi_load(p); }
  static inline VecI spread(const uint32_t* p) { return _mm256_set1_epi32((int)*p); }
  static inline VecI start(int32_t sum) { return _mm256_set1_epi32(-128 * sum); }
  static inline VecI value_start(const int32_t*) { return vi_zero(); }
  // Not the intrinsic: around it GCC 12 copies accumulators in and out of a loop's every turn.
  static inline VecI dot(VecI acc, VecI bytes, VecI codes) {
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(bytes), "x"(codes));
    return acc;
  }
  static inline VecI dot_k(VecI acc, VecI k, VecI q) { return dot(acc, k, q); }
  static inline VecI dot_v(VecI acc, VecI v, VecI w) { return dot(acc, w, v); }
  static inline VecF to_float(VecI acc) { return _mm256_cvtepi32_ps(acc); }
  static inline void store_query(int8_t* p, VecI codes) { vi_store_i8(p, codes); }
  static inline void store_weights(uint8_t* p, const float* w, VecF factor) {
    const VecI order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (int i = 0; i < kPositions / 8; i += 4) {
      VecI codes[4];
      for (int j = 0; j < 4; ++j) codes[j] = vi_nearest(v_mul(v_load(w + 8 * (i + j)), factor));
      const VecI a = _mm256_packs_epi32(codes[0], codes[1]), b = _mm256_packs_epi32(codes[2], codes[3]);
      const VecI bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(a, b), order);
      _mm256_storeu_si256((__m256i*)(p + 8 * i), bytes);
    }
  }
};

}  // namespace

extern "C" void attn_f32_f32_q8__2x4_avxvnni(const AttentionArgs* args) {
  attention_body<Q8Tile>(args);
}
