// Bytes and their products, 64 at a time: the integer vocabulary of kernel bodies for AVX-512 VNNI. Only for
// ISA files.
//
// A vector is kUnits units of 16 bytes; operations that cross bytes stay within a unit, so that the same file
// serves every vector length (docs/kernels.md).
#pragma once

#include "kernels/common/vec_avx512.h"

typedef __m512i VecB;
static constexpr int kUnits = 4;

static inline VecB vb_load(const void* p) {
  return _mm512_loadu_si512(p);
}
static inline void vb_store(void* p, VecB a) {
  _mm512_storeu_si512(p, a);
}
static inline VecB vb_set1(uint8_t b) {
  return _mm512_set1_epi8((char)b);
}
static inline VecB vb_and(VecB a, VecB b) {
  return _mm512_and_si512(a, b);
}
static inline VecB vb_xor(VecB a, VecB b) {
  return _mm512_xor_si512(a, b);
}
// a | (b & mask)
static inline VecB vb_or_masked(VecB a, VecB b, VecB mask) {
  return _mm512_ternarylogic_epi32(a, b, mask, 0xf8);
}
// Shifts move bits across bytes: the caller masks.
template <int n>
static inline VecB vb_shr(VecB a) {
  return n == 0 ? a : _mm512_srli_epi16(a, n);
}
template <int n>
static inline VecB vb_shl(VecB a) {
  return n == 0 ? a : _mm512_slli_epi16(a, n);
}
static inline VecB vb_zip8_lo(VecB a, VecB b) {
  return _mm512_unpacklo_epi8(a, b);
}
static inline VecB vb_zip8_hi(VecB a, VecB b) {
  return _mm512_unpackhi_epi8(a, b);
}
static inline VecB vb_zip16_lo(VecB a, VecB b) {
  return _mm512_unpacklo_epi16(a, b);
}
static inline VecB vb_zip16_hi(VecB a, VecB b) {
  return _mm512_unpackhi_epi16(a, b);
}
static inline VecB vb_zip32_lo(VecB a, VecB b) {
  return _mm512_unpacklo_epi32(a, b);
}
static inline VecB vb_zip32_hi(VecB a, VecB b) {
  return _mm512_unpackhi_epi32(a, b);
}
static inline VecB vb_zip64_lo(VecB a, VecB b) {
  return _mm512_unpacklo_epi64(a, b);
}
static inline VecB vb_zip64_hi(VecB a, VecB b) {
  return _mm512_unpackhi_epi64(a, b);
}
static constexpr bool kShiftsWithinBytes = false;
// table[b] of every byte b < 16.
static inline VecB vb_lookup(const uint8_t* table, VecB index) {
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)table)), index);
}
// Four bytes in every 32-bit lane.
static inline VecB vb_quad(const int8_t* p) {
  int32_t four;
  memcpy(&four, p, sizeof four);
  return _mm512_set1_epi32(four);
}

// planes[j], unit u = x[u * 16 * kPlanes + 16 * j, + 16): what unit u's codes in bit plane j multiply.
template <int kPlanes>
static inline void vb_planes(const int8_t* x, VecB* planes) {
  if (kPlanes == 1) {
    planes[0] = vb_load(x);
  } else if (kPlanes == 2) {
    const VecB a = vb_load(x), b = vb_load(x + 64);
    planes[0] = _mm512_shuffle_i64x2(a, b, 0x88);
    planes[1] = _mm512_shuffle_i64x2(a, b, 0xdd);
  } else {
    const VecB a = vb_load(x), b = vb_load(x + 64), c = vb_load(x + 128), d = vb_load(x + 192);
    const VecB ab02 = _mm512_shuffle_i64x2(a, b, 0x88), ab13 = _mm512_shuffle_i64x2(a, b, 0xdd);
    const VecB cd02 = _mm512_shuffle_i64x2(c, d, 0x88), cd13 = _mm512_shuffle_i64x2(c, d, 0xdd);
    planes[0] = _mm512_shuffle_i64x2(ab02, cd02, 0x88);
    planes[2] = _mm512_shuffle_i64x2(ab02, cd02, 0xdd);
    planes[1] = _mm512_shuffle_i64x2(ab13, cd13, 0x88);
    planes[3] = _mm512_shuffle_i64x2(ab13, cd13, 0xdd);
  }
}
// The third bits of units [unit, unit + kUnits), in bits 0 to 3 of each byte; 16 bytes hold two units.
static inline VecB vb_third_bits(const uint8_t* high, size_t unit) {
  const __m512i pairs = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i*)(high + unit * 8)));
  const __m512i twice = _mm512_shuffle_i64x2(pairs, pairs, 0x50);
  return _mm512_srlv_epi64(twice, _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4));
}

static inline VecI vi_load(const int32_t* p) {
  return _mm512_loadu_si512(p);
}
static inline void vi_store(int32_t* p, VecI a) {
  _mm512_storeu_si512(p, a);
}

// Where products of codes and activations add up: int32 lanes here.
typedef __m512i Dots;
static constexpr bool kDotsAreInt32 = true;
static constexpr int kW8Bias = 0;  // 8-bit codes enter products as they are
static inline Dots dots_zero() {
  return _mm512_setzero_si512();
}
// As assembly, because GCC 12 copies accumulators to other registers around the intrinsic: a loop of 24 of
// them ran at a fifth of its speed.
static inline Dots dot(Dots acc, VecB codes, VecB x) {
  asm("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(codes), "v"(x));
  return acc;
}
// The same for loops that keep as many sums as there are registers for.
static inline Dots dot_of_many(Dots acc, VecB codes, VecB x) {
  return dot(acc, codes, x);
}
static inline VecI dots_sum(Dots acc) {
  return acc;
}
// 8-bit codes minus kW8Bias.
static inline VecI vi_dot_wide(VecI acc, VecB codes, VecB x) {
  return dot(acc, codes, x);
}

// The same for int32 lanes, whatever Dots is.
static inline VecI vi_dot(VecI acc, VecB codes, VecB x) {
  return dot(acc, codes, x);
}

// How channels are taken together: Dots adds up products of kInterleave neighbouring bytes, channels of one
// output, with the kInterleave activations that vb_repeat repeats, and fills 4 / kInterleave vectors of sums
// between dots_begin and dots_end. vi_after_dots brings the sums of four Dots into the order of their bytes,
// from where vi_in_order takes them. kProductBits: how far up in their bytes codes may stay for sixteen
// channels to fit (gemv_channel/fields.h).
static constexpr int kProductBits = 8;
#include "kernels/common/dots_int32.h"

static inline VecI as_dwords(VecB a) {
  return a;
}
static inline VecF vi_to_float(VecI a) {
  return _mm512_cvtepi32_ps(a);
}
// Of v[i], unit u holds elements u * 16 + 4 i .. + 3 of a sequence; brings the sequence in order, kLanes a
// vector.
static inline void vi_in_order(const VecI* v, VecI* out) {
  const __m512i a = _mm512_shuffle_i64x2(v[0], v[1], 0x44), b = _mm512_shuffle_i64x2(v[0], v[1], 0xee);
  const __m512i c = _mm512_shuffle_i64x2(v[2], v[3], 0x44), d = _mm512_shuffle_i64x2(v[2], v[3], 0xee);
  out[0] = _mm512_shuffle_i64x2(a, c, 0x88);
  out[1] = _mm512_shuffle_i64x2(a, c, 0xdd);
  out[2] = _mm512_shuffle_i64x2(b, d, 0x88);
  out[3] = _mm512_shuffle_i64x2(b, d, 0xdd);
}

// Lanes n and above become 0.
static inline VecF v_first(VecF a, size_t n) {
  return n >= 16 ? a : _mm512_maskz_mov_ps((__mmask16)((1u << n) - 1u), a);
}
// 4-bit zeros, 16 in 8 bytes: byte i holds i and, above, i + 8. Part p of kLanes of them.
static inline VecF v_load_zeros(const uint8_t* p, int) {
  const __m128i bytes = _mm_loadl_epi64((const __m128i*)p);
  const __m128i both = _mm_unpacklo_epi64(bytes, _mm_srli_epi16(bytes, 4));
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_and_si128(both, _mm_set1_epi8(15))));
}
// Unit u takes f[u / kUnitsPerGroup * kStep].
template <int kUnitsPerGroup, int kStep>
static inline VecF v_unit_factors(const float* f) {
  if (kUnitsPerGroup >= 4) return _mm512_set1_ps(f[0]);
  if (kUnitsPerGroup == 2) {
    const __m512i pick =
        _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, kStep, kStep, kStep, kStep, kStep, kStep, kStep, kStep);
    return _mm512_permutexvar_ps(pick, _mm512_castps256_ps512(_mm256_loadu_ps(f)));
  }
  const __m512i pick = _mm512_setr_epi32(0, 0, 0, 0, kStep, kStep, kStep, kStep, 2 * kStep, 2 * kStep,
                                         2 * kStep, 2 * kStep, 3 * kStep, 3 * kStep, 3 * kStep, 3 * kStep);
  return _mm512_permutexvar_ps(pick, _mm512_castps256_ps512(_mm256_loadu_ps(f)));
}
