// Bytes and their products, 32 at a time, for AVX2 and AVX-VNNI. Meanings: int_avx512.h. Only for ISA files.
#pragma once

#include "kernels/common/vec_avx2.h"

typedef __m256i VecB;
static constexpr int kUnits = 2;

static inline VecB vb_load(const void* p) {
  return _mm256_loadu_si256((const __m256i*)p);
}
static inline void vb_store(void* p, VecB a) {
  _mm256_storeu_si256((__m256i*)p, a);
}
static inline VecB vb_set1(uint8_t b) {
  return _mm256_set1_epi8((char)b);
}
static inline VecB vb_and(VecB a, VecB b) {
  return _mm256_and_si256(a, b);
}
static inline VecB vb_xor(VecB a, VecB b) {
  return _mm256_xor_si256(a, b);
}
static inline VecB vb_or_masked(VecB a, VecB b, VecB mask) {
  return _mm256_or_si256(a, _mm256_and_si256(b, mask));
}
template <int n>
static inline VecB vb_shr(VecB a) {
  return n == 0 ? a : _mm256_srli_epi16(a, n);
}
template <int n>
static inline VecB vb_shl(VecB a) {
  return n == 0 ? a : _mm256_slli_epi16(a, n);
}
static inline VecB vb_zip8_lo(VecB a, VecB b) {
  return _mm256_unpacklo_epi8(a, b);
}
static inline VecB vb_zip8_hi(VecB a, VecB b) {
  return _mm256_unpackhi_epi8(a, b);
}
static inline VecB vb_zip16_lo(VecB a, VecB b) {
  return _mm256_unpacklo_epi16(a, b);
}
static inline VecB vb_zip16_hi(VecB a, VecB b) {
  return _mm256_unpackhi_epi16(a, b);
}
static inline VecB vb_zip32_lo(VecB a, VecB b) {
  return _mm256_unpacklo_epi32(a, b);
}
static inline VecB vb_zip32_hi(VecB a, VecB b) {
  return _mm256_unpackhi_epi32(a, b);
}
static inline VecB vb_zip64_lo(VecB a, VecB b) {
  return _mm256_unpacklo_epi64(a, b);
}
static inline VecB vb_zip64_hi(VecB a, VecB b) {
  return _mm256_unpackhi_epi64(a, b);
}
static constexpr bool kShiftsWithinBytes = false;
static inline VecB vb_lookup(const uint8_t* table, VecB index) {
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)table)), index);
}
static inline VecB vb_quad(const int8_t* p) {
  int32_t four;
  memcpy(&four, p, sizeof four);
  return _mm256_set1_epi32(four);
}

template <int kPlanes>
static inline void vb_planes(const int8_t* x, VecB* planes) {
  if (kPlanes == 1) {
    planes[0] = vb_load(x);
    return;
  }
  for (int j = 0; j < kPlanes; ++j) {
    planes[j] = _mm256_loadu2_m128i((const __m128i*)(x + 16 * (kPlanes + j)), (const __m128i*)(x + 16 * j));
  }
}
static inline VecB vb_third_bits(const uint8_t* high, size_t unit) {
  const __m256i twice = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)(high + unit * 8)));
  return _mm256_srlv_epi64(twice, _mm256_setr_epi64x(0, 0, 4, 4));
}

static inline VecI vi_load(const int32_t* p) {
  return _mm256_loadu_si256((const __m256i*)p);
}
static inline void vi_store(int32_t* p, VecI a) {
  _mm256_storeu_si256((__m256i*)p, a);
}

#if defined(__AVXVNNI__)
static constexpr int kW8Bias = 0;
typedef __m256i Dots;
static constexpr bool kDotsAreInt32 = true;
static inline Dots dots_zero() {
  return _mm256_setzero_si256();
}
// As assembly: see int_avx512.h.
static inline Dots dot(Dots acc, VecB codes, VecB x) {
  asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(codes), "x"(x));
  return acc;
}
static inline Dots dot_of_many(Dots acc, VecB codes, VecB x) {
  return dot(acc, codes, x);
}
static inline VecI dots_sum(Dots acc) {
  return acc;
}
static inline VecI vi_dot_wide(VecI acc, VecB codes, VecB x) {
  return dot(acc, codes, x);
}
#else
// Pairs of products in int16 lanes: 8 additions of 4-bit codes fit, 18 of 3-bit ones, 43 of 2-bit ones.
typedef __m256i Dots;
static constexpr bool kDotsAreInt32 = false;
static inline Dots dots_zero() {
  return _mm256_setzero_si256();
}
static inline Dots dot(Dots acc, VecB codes, VecB x) {
  return _mm256_add_epi16(acc, _mm256_maddubs_epi16(codes, x));
}
// As assembly, because GCC 12 makes all products of a step before it adds any of them, which leaves no
// registers for the sums: one that goes through memory at every step takes eight cycles a step.
static inline Dots dot_of_many(Dots acc, VecB codes, VecB x) {
  __m256i pairs;
  asm("vpmaddubsw %3, %2, %1\n\tvpaddw %1, %0, %0" : "+x"(acc), "=x"(pairs) : "x"(codes), "x"(x));
  return acc;
}
static inline VecI dots_sum(Dots acc) {
  return _mm256_madd_epi16(acc, _mm256_set1_epi16(1));
}
// The sign moves to x: pairs reach 2 * 128 * 127 and fit, since |x| <= 127.
static constexpr int kW8Bias = 128;
static inline VecI vi_dot_wide(VecI acc, VecB codes, VecB x) {
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(x, codes));
  return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
#endif

// The same for int32 lanes, whatever Dots is.
static inline VecI vi_dot(VecI acc, VecB codes, VecB x) {
#if defined(__AVXVNNI__)
  return dot(acc, codes, x);
#else
  return vi_add(acc, dots_sum(dot(dots_zero(), codes, x)));
#endif
}

#if defined(__AVXVNNI__)
static constexpr int kProductBits = 8;
#include "kernels/common/dots_int32.h"
#else
static constexpr int kInterleave = 2, kProductBits = 4;
static inline VecB vb_repeat(const int8_t* x) {
  int16_t two;
  memcpy(&two, x, sizeof two);
  return _mm256_set1_epi16(two);
}
static inline Dots dots_begin(const int32_t*) {
  return dots_zero();
}
// Sums of even lanes, then those of odd ones.
static inline void dots_end(Dots dots, int32_t* sums) {
  const __m256i even = _mm256_set1_epi32(1), odd = _mm256_set1_epi32(1 << 16);
  vi_store(sums, vi_add(vi_load(sums), _mm256_madd_epi16(dots, even)));
  vi_store(sums + 8, vi_add(vi_load(sums + 8), _mm256_madd_epi16(dots, odd)));
}
static inline void vi_after_dots(VecI* v) {
  for (int i = 0; i < 4; i += 2) {
    const VecI even = v[i], odd = v[i + 1];
    v[i] = vb_zip32_lo(even, odd);
    v[i + 1] = vb_zip32_hi(even, odd);
  }
}
#endif

static inline VecI as_dwords(VecB a) {
  return a;
}
static inline VecF vi_to_float(VecI a) {
  return _mm256_cvtepi32_ps(a);
}
static inline void vi_in_order(const VecI* v, VecI* out) {
  out[0] = _mm256_permute2x128_si256(v[0], v[1], 0x20);
  out[1] = _mm256_permute2x128_si256(v[2], v[3], 0x20);
  out[2] = _mm256_permute2x128_si256(v[0], v[1], 0x31);
  out[3] = _mm256_permute2x128_si256(v[2], v[3], 0x31);
}

static inline VecF v_first(VecF a, size_t n) {
  return n >= 8 ? a : _mm256_and_ps(a, _mm256_castsi256_ps(v_part_mask(n)));
}
static inline VecF v_load_zeros(const uint8_t* p, int part) {
  __m128i bytes = _mm_loadl_epi64((const __m128i*)p);
  if (part != 0) bytes = _mm_srli_epi16(bytes, 4);
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_and_si128(bytes, _mm_set1_epi8(15))));
}
template <int kUnitsPerGroup, int kStep>
static inline VecF v_unit_factors(const float* f) {
  if (kUnitsPerGroup >= 2) return _mm256_set1_ps(f[0]);
  return _mm256_insertf128_ps(_mm256_set1_ps(f[0]), _mm_set1_ps(f[kStep]), 1);
}
