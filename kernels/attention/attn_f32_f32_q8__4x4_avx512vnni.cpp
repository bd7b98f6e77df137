// dpbusd multiplies unsigned by signed. Scores: keys + 128 by queries, and -128 times the sum of the query's
// codes to begin with. Values: weights are unsigned as they are.
#define MINNOW_VEC "kernels/attention/tile_avx512.h"
#include "kernels/attention/body.h"

namespace {

struct Q8Tile {
  typedef int8_t Element;
  typedef uint8_t Weight;
  typedef int8_t Query;
  typedef VecI Acc;
  typedef VecI Lanes;
  static constexpr int kUnit = 4, kPositions = 128, kRows = 4, kVecs = 4;
  static constexpr bool kRounded = true, kShifted = false;

  // 64 codes, or the 32 that are left.
  static inline VecI load_codes(const int8_t* p, size_t left) {
    return left >= 64 ? _mm512_loadu_si512(p) : _mm512_zextsi256_si512(_mm256_loadu_si256((const __m256i*)p));
  }
  static inline VecI load_k(const int8_t* p, size_t left) {
    return _mm512_xor_si512(load_codes(p, left), _mm512_set1_epi8(-128));
  }
  // Vector i, block b of 128 bits: dimensions 16 b + 4 i to 16 b + 4 i + 3.
  static inline void pack_v(const int8_t* const* rows, size_t left, VecI* out) {
    const VecI a = load_codes(rows[0], left), b = load_codes(rows[1], left);
    const VecI c = load_codes(rows[2], left), d = load_codes(rows[3], left);
    const VecI ab0 = _mm512_unpacklo_epi8(a, b), ab1 = _mm512_unpackhi_epi8(a, b);
    const VecI cd0 = _mm512_unpacklo_epi8(c, d), cd1 = _mm512_unpackhi_epi8(c, d);
    out[0] = _mm512_unpacklo_epi16(ab0, cd0);
    out[1] = _mm512_unpackhi_epi16(ab0, cd0);
    out[2] = _mm512_unpacklo_epi16(ab1, cd1);
    out[3] = _mm512_unpackhi_epi16(ab1, cd1);
  }
  static inline void unpermute(VecF* v) {
    const VecF a = _mm512_shuffle_f32x4(v[0], v[1], 0x44), b = _mm512_shuffle_f32x4(v[0], v[1], 0xee);
    const VecF c = _mm512_shuffle_f32x4(v[2], v[3], 0x44), d = _mm512_shuffle_f32x4(v[2], v[3], 0xee);
    v[0] = _mm512_shuffle_f32x4(a, c, 0x88);
    v[1] = _mm512_shuffle_f32x4(a, c, 0xdd);
    v[2] = _mm512_shuffle_f32x4(b, d, 0x88);
    v[3] = _mm512_shuffle_f32x4(b, d, 0xdd);
  }
  static inline VecI load(const uint32_t* p) { return vi_load(p); }
  static inline VecI spread(const uint32_t* p) { return _mm512_set1_epi32((int)*p); }
  static inline VecI start(int32_t sum) { return _mm512_set1_epi32(-128 * sum); }
  static inline VecI value_start(const int32_t*) { return vi_zero(); }
  // Not the intrinsic: around it GCC 12 copies sixteen accumulators in and out of a loop's every turn.
  static inline VecI dot(VecI acc, VecI bytes, VecI codes) {
    asm("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(bytes), "v"(codes));
    return acc;
  }
  static inline VecI dot_k(VecI acc, VecI k, VecI q) { return dot(acc, k, q); }
  static inline VecI dot_v(VecI acc, VecI v, VecI w) { return dot(acc, w, v); }
  static inline VecF to_float(VecI acc) { return _mm512_cvtepi32_ps(acc); }
  static inline void store_query(int8_t* p, VecI codes) { vi_store_i8(p, codes); }
  static inline void store_weights(uint8_t* p, const float* w, VecF factor) {
    const VecI order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    for (int i = 0; i < kPositions / 16; i += 4) {
      VecI codes[4];
      for (int j = 0; j < 4; ++j) codes[j] = vi_nearest(v_mul(v_load(w + 16 * (i + j)), factor));
      const VecI a = _mm512_packs_epi32(codes[0], codes[1]), b = _mm512_packs_epi32(codes[2], codes[3]);
      _mm512_storeu_si512(p + 16 * i, _mm512_permutexvar_epi32(order, _mm512_packus_epi16(a, b)));
    }
  }
};

}  // namespace

extern "C" void attn_f32_f32_q8__4x4_avx512vnni(const AttentionArgs* args) {
  attention_body<Q8Tile>(args);
}
