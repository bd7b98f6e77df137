// Sixteen f32 lanes: the vocabulary of kernel bodies, for AVX-512 F, BW, DQ, VL. Only for ISA files.
// vec_avx2.h and vec_neon.h define the same names; vec_avx512.h says what they mean.
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef __m512 VecF;   // kLanes f32
typedef __m512i VecI;  // kLanes int32
static constexpr int kLanes = 16;
static constexpr int kTileAccumulators = 16;

static inline VecF v_zero() {
  return _mm512_setzero_ps();
}
static inline VecF v_set1(float x) {
  return _mm512_set1_ps(x);
}
static inline VecF v_add(VecF a, VecF b) {
  return _mm512_add_ps(a, b);
}
static inline VecF v_sub(VecF a, VecF b) {
  return _mm512_sub_ps(a, b);
}
static inline VecF v_mul(VecF a, VecF b) {
  return _mm512_mul_ps(a, b);
}
static inline VecF v_div(VecF a, VecF b) {
  return _mm512_div_ps(a, b);
}
static inline VecF v_fma(VecF a, VecF b, VecF c) {
  return _mm512_fmadd_ps(a, b, c);
}  // a * b + c
static inline VecF v_fnma(VecF a, VecF b, VecF c) {
  return _mm512_fnmadd_ps(a, b, c);
}  // c - a * b
// Of a NaN and a number, either may come out; v_min(number, x) and v_max(number, x) keep a NaN x.
static inline VecF v_min(VecF a, VecF b) {
  return _mm512_min_ps(a, b);
}
static inline VecF v_max(VecF a, VecF b) {
  return _mm512_max_ps(a, b);
}
static inline VecF v_abs(VecF a) {
  return _mm512_abs_ps(a);
}
static inline VecF v_round(VecF a) {
  return _mm512_roundscale_ps(a, 0);
}  // to nearest even
// x with the sign of s; x is not negative.
static inline VecF v_with_sign(VecF x, VecF s) {
  return _mm512_or_ps(x, _mm512_and_ps(s, _mm512_set1_ps(-0.0f)));
}
// a < b ? x : y; a NaN takes y.
static inline VecF v_if_less(VecF a, VecF b, VecF x, VecF y) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}
// Bit i: not |x| <= t in lane i, so a NaN counts; *out = x there, 0 elsewhere.
static inline uint32_t v_above(VecF x, VecF t, VecF* out) {
  const __mmask16 above = _mm512_cmp_ps_mask(v_abs(x), t, _CMP_NLE_UQ);
  *out = _mm512_maskz_mov_ps(above, x);
  return above;
}
// base + i for every bit i, ascending; writes kLanes entries. In a register first: AMD's cores take a
// compressing store apart.
static inline void v_list(uint32_t* list, uint32_t base, uint32_t bits) {
  const __m512i all = _mm512_add_epi32(
      _mm512_set1_epi32((int)base), _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  _mm512_storeu_si512(list, _mm512_maskz_compress_epi32((__mmask16)bits, all));
}
// The same of 64 bits.
static inline void v_list_64(uint32_t* list, uint32_t base, uint64_t bits) {
  for (uint32_t i = 0; i < 64; i += kLanes) {
    const uint32_t some = (uint16_t)(bits >> i);
    v_list(list, base + i, some);
    list += __builtin_popcount(some);
  }
}
// x * 2^n for integral n in [-160, 160]; overflows to infinity, underflows gradually.
static inline VecF v_scale2(VecF x, VecF n) {
  return _mm512_scalef_ps(x, n);
}
// 2^x for x <= 0 or little above it; relative error below 2^-22.5; 0 for minus infinity. The polynomial is
// minimax on [0, 1).
static inline VecF v_exp2_negative(VecF x) {
  const VecF f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);  // x - floor(x)
  VecF p = v_set1(0.0018775767f);
  p = v_fma(p, f, v_set1(0.00898934f));
  p = v_fma(p, f, v_set1(0.055826318f));
  p = v_fma(p, f, v_set1(0.24015361f));
  p = v_fma(p, f, v_set1(0.6931531f));
  p = v_fma(p, f, v_set1(0.99999994f));
  return _mm512_scalef_ps(p, x);
}

static inline float v_hsum(VecF a) {
  return _mm512_reduce_add_ps(a);
}
static inline float v_hmax(VecF a) {
  return _mm512_reduce_max_ps(a);
}
// out[i] = the sum of v[i]'s lanes.
static inline void v_hsum4(const VecF* v, float* out) {
  __m256 half[4];
  for (int i = 0; i < 4; ++i) {
    half[i] = _mm256_add_ps(_mm512_castps512_ps256(v[i]), _mm512_extractf32x8_ps(v[i], 1));
  }
  const __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps(half[0], half[1]), _mm256_hadd_ps(half[2], half[3]));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1)));
}

static inline VecF v_load(const float* p) {
  return _mm512_loadu_ps(p);
}
static inline void v_store(float* p, VecF a) {
  _mm512_storeu_ps(p, a);
}
// The first n < kLanes elements; the other lanes are `rest`. Touches no memory beyond them.
static inline VecF v_load_part(const float* p, size_t n, float rest) {
  return _mm512_mask_loadu_ps(_mm512_set1_ps(rest), (__mmask16)((1u << n) - 1u), p);
}
static inline void v_store_part(float* p, VecF a, size_t n) {
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1u), a);
}

static inline VecF v_load_f16(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
}
static inline VecF v_load_bf16(const uint16_t* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
static inline VecF v_load_i8(const int8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)));
}
// Round to nearest even.
static inline void v_store_f16(uint16_t* p, VecF a) {
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
// One value, by the instruction.
static inline float v_f32_of_f16(uint16_t bits) {
  return _cvtsh_ss(bits);
}
static inline uint16_t v_f16_of_f32(float value) {
  return _cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline void v_store_bf16(uint16_t* p, VecF a) {
  const __m512i bits = _mm512_castps_si512(a);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  const __m512i best = _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), rounded, quiet);
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(best, 16)));
}

static inline VecI vi_zero() {
  return _mm512_setzero_si512();
}
static inline VecI vi_add(VecI a, VecI b) {
  return _mm512_add_epi32(a, b);
}
static inline VecI vi_sub(VecI a, VecI b) {
  return _mm512_sub_epi32(a, b);
}
static inline int32_t vi_hsum(VecI a) {
  return _mm512_reduce_add_epi32(a);
}
static inline VecI vi_nearest(VecF a) {
  return _mm512_cvtps_epi32(a);
}  // to nearest even
static inline VecI vi_abs_bits(VecF a) {
  return _mm512_castps_si512(_mm512_abs_ps(a));
}
static inline VecI vi_max(VecI a, VecI b) {
  return _mm512_max_epi32(a, b);
}
static inline int32_t vi_hmax(VecI a) {
  return _mm512_reduce_max_epi32(a);
}
// Lanes within int8.
static inline void vi_store_i8(int8_t* p, VecI a) {
  _mm_storeu_si128((__m128i*)p, _mm512_cvtepi32_epi8(a));
}

// How far ahead rows are fetched when memory is the limit: the best of 0 to 8 KB on Zen 5, where hardware
// alone reaches three quarters of it.
static constexpr int kPrefetchBytes = 8192;
// Into the second-level cache: misses of the first are few at a time, and fetches into it wait for one.
// Forced inline: GCC 12 takes a function that only prefetches for one without effect and drops its calls.
__attribute__((always_inline)) static inline void v_prefetch(const void* p) {
  _mm_prefetch((const char*)p, _MM_HINT_T1);
}
