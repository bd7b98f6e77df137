// Eight f32 lanes: the vocabulary of kernel bodies for AVX2, FMA and F16C. Meanings: vec_avx512.h. Only for
// ISA files.
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef __m256 VecF;
typedef __m256i VecI;
static constexpr int kLanes = 8;
static constexpr int kTileAccumulators = 8;  // 16 registers: more accumulators would spill

static inline VecF v_zero() {
  return _mm256_setzero_ps();
}
static inline VecF v_set1(float x) {
  return _mm256_set1_ps(x);
}
static inline VecF v_add(VecF a, VecF b) {
  return _mm256_add_ps(a, b);
}
static inline VecF v_sub(VecF a, VecF b) {
  return _mm256_sub_ps(a, b);
}
static inline VecF v_mul(VecF a, VecF b) {
  return _mm256_mul_ps(a, b);
}
static inline VecF v_div(VecF a, VecF b) {
  return _mm256_div_ps(a, b);
}
static inline VecF v_fma(VecF a, VecF b, VecF c) {
  return _mm256_fmadd_ps(a, b, c);
}
static inline VecF v_fnma(VecF a, VecF b, VecF c) {
  return _mm256_fnmadd_ps(a, b, c);
}
static inline VecF v_min(VecF a, VecF b) {
  return _mm256_min_ps(a, b);
}
static inline VecF v_max(VecF a, VecF b) {
  return _mm256_max_ps(a, b);
}
static inline VecF v_abs(VecF a) {
  return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
static inline VecF v_round(VecF a) {
  return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline VecF v_with_sign(VecF x, VecF s) {
  return _mm256_or_ps(x, _mm256_and_ps(s, _mm256_set1_ps(-0.0f)));
}
static inline VecF v_if_less(VecF a, VecF b, VecF x, VecF y) {
  return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}
static inline uint32_t v_above(VecF x, VecF t, VecF* out) {
  const __m256 above = _mm256_cmp_ps(v_abs(x), t, _CMP_NLE_UQ);
  *out = _mm256_and_ps(above, x);
  return (uint32_t)_mm256_movemask_ps(above);
}
static inline void v_list(uint32_t* list, uint32_t base, uint32_t bits) {
  for (uint32_t i = 0; i < 8; ++i) {
    *list = base + i;
    list += (bits >> i) & 1;
  }
}
// In two steps, so that the powers stay normal and the last product does the rounding.
static inline VecF v_scale2(VecF x, VecF n) {
  const __m256i exponent = _mm256_cvtps_epi32(n);
  const __m256i first = _mm256_srai_epi32(exponent, 1);
  const __m256i second = _mm256_sub_epi32(exponent, first);
  const __m256i bias = _mm256_set1_epi32(127);
  const __m256 a = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(first, bias), 23));
  const __m256 b = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(second, bias), 23));
  return _mm256_mul_ps(_mm256_mul_ps(x, a), b);
}
// 2^x for x <= 0 or little above it; relative error below 2^-22.5; 0 below -125. The polynomial is minimax on
// [0, 1) and stays in [1, 2], so that n can be added to its exponent.
static inline VecF v_exp2_negative(VecF x) {
  const VecF n = _mm256_floor_ps(x), f = v_sub(x, n);
  VecF p = v_set1(0.0018775767f);
  p = v_fma(p, f, v_set1(0.00898934f));
  p = v_fma(p, f, v_set1(0.055826318f));
  p = v_fma(p, f, v_set1(0.24015361f));
  p = v_fma(p, f, v_set1(0.6931531f));
  p = v_fma(p, f, v_set1(0.99999994f));
  const VecI power = _mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23));
  // Not less: a NaN stays one, being added to a NaN's exponent or not.
  const VecF small = _mm256_cmp_ps(x, v_set1(-125.0f), _CMP_LT_OQ);
  const VecF nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
  return _mm256_or_ps(nan, _mm256_andnot_ps(small, _mm256_castsi256_ps(power)));
}

static inline float v_hsum(VecF a) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
static inline float v_hmax(VecF a) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
static inline void v_hsum4(const VecF* v, float* out) {
  const __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1)));
}

static inline VecF v_load(const float* p) {
  return _mm256_loadu_ps(p);
}
static inline void v_store(float* p, VecF a) {
  _mm256_storeu_ps(p, a);
}
static inline __m256i v_part_mask(size_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline VecF v_load_part(const float* p, size_t n, float rest) {
  const __m256i mask = v_part_mask(n);
  return _mm256_blendv_ps(_mm256_set1_ps(rest), _mm256_maskload_ps(p, mask), _mm256_castsi256_ps(mask));
}
static inline void v_store_part(float* p, VecF a, size_t n) {
  _mm256_maskstore_ps(p, v_part_mask(n), a);
}

static inline VecF v_load_f16(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
}
static inline VecF v_load_bf16(const uint16_t* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
static inline VecF v_load_i8(const int8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p)));
}
static inline void v_store_f16(uint16_t* p, VecF a) {
  _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline float v_f32_of_f16(uint16_t bits) {
  return _cvtsh_ss(bits);
}
static inline uint16_t v_f16_of_f32(float value) {
  return _cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline void v_store_bf16(uint16_t* p, VecF a) {
  const __m256i bits = _mm256_castps_si256(a);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
  const __m256i best = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
  _mm_storeu_si128((__m128i*)p,
                   _mm_packus_epi32(_mm256_castsi256_si128(best), _mm256_extracti128_si256(best, 1)));
}

static inline VecI vi_zero() {
  return _mm256_setzero_si256();
}
static inline VecI vi_add(VecI a, VecI b) {
  return _mm256_add_epi32(a, b);
}
static inline VecI vi_sub(VecI a, VecI b) {
  return _mm256_sub_epi32(a, b);
}
static inline int32_t vi_hsum(VecI a) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}
static inline VecI vi_nearest(VecF a) {
  return _mm256_cvtps_epi32(a);
}
static inline VecI vi_abs_bits(VecF a) {
  return _mm256_castps_si256(v_abs(a));
}
static inline VecI vi_max(VecI a, VecI b) {
  return _mm256_max_epi32(a, b);
}
static inline int32_t vi_hmax(VecI a) {
  __m128i s = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  s = _mm_max_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}
static inline void vi_store_i8(int8_t* p, VecI a) {
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  _mm_storel_epi64((__m128i*)p, _mm_packs_epi16(words, words));
}

static constexpr int kPrefetchBytes = 8192;
__attribute__((always_inline)) static inline void v_prefetch(const void* p) {
  _mm_prefetch((const char*)p, _MM_HINT_T1);
}
