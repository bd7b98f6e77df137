// Bytes and their products, 16 at a time, for NEON with and without dotprod. Meanings: int_avx512.h. Only for
// ISA files.
#pragma once

#include "kernels/common/vec_neon.h"

typedef uint8x16_t VecB;
static constexpr int kUnits = 1;

static inline VecB vb_load(const void* p) {
  return vld1q_u8((const uint8_t*)p);
}
static inline void vb_store(void* p, VecB a) {
  vst1q_u8((uint8_t*)p, a);
}
static inline VecB vb_set1(uint8_t b) {
  return vdupq_n_u8(b);
}
static inline VecB vb_and(VecB a, VecB b) {
  return vandq_u8(a, b);
}
static inline VecB vb_xor(VecB a, VecB b) {
  return veorq_u8(a, b);
}
static inline VecB vb_or_masked(VecB a, VecB b, VecB mask) {
  return vorrq_u8(a, vandq_u8(b, mask));
}
template <int n>
static inline VecB vb_shr(VecB a) {
  if constexpr (n == 0)
    return a;
  else
    return vshrq_n_u8(a, n);
}
template <int n>
static inline VecB vb_shl(VecB a) {
  return vshlq_n_u8(a, n);
}
static inline VecB vb_zip8_lo(VecB a, VecB b) {
  return vzip1q_u8(a, b);
}
static inline VecB vb_zip8_hi(VecB a, VecB b) {
  return vzip2q_u8(a, b);
}
static inline VecB vb_zip16_lo(VecB a, VecB b) {
  return vreinterpretq_u8_u16(vzip1q_u16(vreinterpretq_u16_u8(a), vreinterpretq_u16_u8(b)));
}
static inline VecB vb_zip16_hi(VecB a, VecB b) {
  return vreinterpretq_u8_u16(vzip2q_u16(vreinterpretq_u16_u8(a), vreinterpretq_u16_u8(b)));
}
static inline VecB vb_zip32_lo(VecB a, VecB b) {
  return vreinterpretq_u8_u32(vzip1q_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)));
}
static inline VecB vb_zip32_hi(VecB a, VecB b) {
  return vreinterpretq_u8_u32(vzip2q_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)));
}
static inline VecB vb_zip64_lo(VecB a, VecB b) {
  return vreinterpretq_u8_u64(vzip1q_u64(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)));
}
static inline VecB vb_zip64_hi(VecB a, VecB b) {
  return vreinterpretq_u8_u64(vzip2q_u64(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)));
}
static constexpr bool kShiftsWithinBytes = true;
static inline VecB vb_lookup(const uint8_t* table, VecB index) {
  return vqtbl1q_u8(vld1q_u8(table), index);
}
static inline VecB vb_quad(const int8_t* p) {
  int32_t four;
  memcpy(&four, p, sizeof four);
  return vreinterpretq_u8_s32(vdupq_n_s32(four));
}

template <int kPlanes>
static inline void vb_planes(const int8_t* x, VecB* planes) {
  for (int j = 0; j < kPlanes; ++j) planes[j] = vb_load(x + 16 * j);
}
static inline VecB vb_third_bits(const uint8_t* high, size_t unit) {
  const VecB pair = vb_load(high + unit / 2 * 16);
  return unit % 2 != 0 ? vshrq_n_u8(pair, 4) : pair;
}

static inline VecI vi_load(const int32_t* p) {
  return vld1q_s32(p);
}
static inline void vi_store(int32_t* p, VecI a) {
  vst1q_s32(p, a);
}

// Codes of up to 4 bits are the same signed and unsigned; 8-bit ones enter products as code - 128.
static constexpr int kW8Bias = 128;
#if defined(__ARM_FEATURE_DOTPROD)
typedef int32x4_t Dots;
static constexpr bool kDotsAreInt32 = true;
static inline Dots dots_zero() {
  return vdupq_n_s32(0);
}
static inline Dots dot(Dots acc, VecB codes, VecB x) {
  return vdotq_s32(acc, vreinterpretq_s8_u8(codes), vreinterpretq_s8_u8(x));
}
static inline VecI dots_sum(Dots acc) {
  return acc;
}
static inline VecI vi_dot_wide(VecI acc, VecB codes, VecB x) {
  return dot(acc, codes, x);
}
#else
// Single products in int16 lanes: 17 additions of 4-bit codes fit, 36 of 3-bit ones, 85 of 2-bit ones, 2 of
// 8-bit ones.
struct Dots {
  int16x8_t lo, hi;
};
static constexpr bool kDotsAreInt32 = false;
static inline Dots dots_zero() {
  return {vdupq_n_s16(0), vdupq_n_s16(0)};
}
static inline Dots dot(Dots acc, VecB codes, VecB x) {
  const int8x16_t w = vreinterpretq_s8_u8(codes), v = vreinterpretq_s8_u8(x);
  return {vmlal_s8(acc.lo, vget_low_s8(w), vget_low_s8(v)), vmlal_high_s8(acc.hi, w, v)};
}
static inline VecI dots_sum(Dots acc) {
  return vpaddq_s32(vpaddlq_s16(acc.lo), vpaddlq_s16(acc.hi));
}
static inline VecI vi_dot_wide(VecI acc, VecB codes, VecB x) {
  return vaddq_s32(acc, dots_sum(dot(dots_zero(), codes, x)));
}
#endif

static inline Dots dot_of_many(Dots acc, VecB codes, VecB x) {
  return dot(acc, codes, x);
}

#if defined(__ARM_FEATURE_MATMUL_INT8)
// Eight bytes of two rows.
static inline VecB vb_pair8(const int8_t* a, const int8_t* b) {
  return vreinterpretq_u8_s8(vcombine_s8(vld1_s8(a), vld1_s8(b)));
}
// acc[2 i + j] += row i of a times row j of b, rows of eight bytes.
static inline VecI vi_matrix(VecI acc, VecB a, VecB b) {
  return vmmlaq_s32(acc, vreinterpretq_s8_u8(a), vreinterpretq_s8_u8(b));
}
static inline VecI vi_even(VecI a, VecI b) {
  return vuzp1q_s32(a, b);
}
static inline VecI vi_odd(VecI a, VecI b) {
  return vuzp2q_s32(a, b);
}
#endif

// The same for int32 lanes, whatever Dots is.
static inline VecI vi_dot(VecI acc, VecB codes, VecB x) {
#if defined(__ARM_FEATURE_DOTPROD)
  return dot(acc, codes, x);
#else
  return vi_add(acc, dots_sum(dot(dots_zero(), codes, x)));
#endif
}

#if defined(__ARM_FEATURE_DOTPROD)
static constexpr int kProductBits = 7;
#include "kernels/common/dots_int32.h"
#else
static constexpr int kInterleave = 1, kProductBits = 4;
static inline VecB vb_repeat(const int8_t* x) {
  return vreinterpretq_u8_s8(vdupq_n_s8(*x));
}
static inline Dots dots_begin(const int32_t*) {
  return dots_zero();
}
static inline void dots_end(Dots dots, int32_t* sums) {
  vi_store(sums, vaddw_s16(vi_load(sums), vget_low_s16(dots.lo)));
  vi_store(sums + 4, vaddw_high_s16(vi_load(sums + 4), dots.lo));
  vi_store(sums + 8, vaddw_s16(vi_load(sums + 8), vget_low_s16(dots.hi)));
  vi_store(sums + 12, vaddw_high_s16(vi_load(sums + 12), dots.hi));
}
static inline void vi_after_dots(VecI*) {}
#endif

static inline VecI as_dwords(VecB a) {
  return vreinterpretq_s32_u8(a);
}
static inline VecF vi_to_float(VecI a) {
  return vcvtq_f32_s32(a);
}
static inline void vi_in_order(const VecI* v, VecI* out) {
  for (int i = 0; i < 4; ++i) out[i] = v[i];
}

static inline VecF v_first(VecF a, size_t n) {
  const uint32_t lanes[4] = {0, 1, 2, 3};
  const uint32x4_t keep = vcltq_u32(vld1q_u32(lanes), vdupq_n_u32((uint32_t)(n < 4 ? n : 4)));
  return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(a), keep));
}
static inline VecF v_load_zeros(const uint8_t* p, int part) {
  uint32_t four;
  memcpy(&four, p + 4 * (part % 2), sizeof four);
  const uint32_t nibbles = (part < 2 ? four : four >> 4) & 0x0f0f0f0fu;
  const uint16x8_t words = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(nibbles)));
  return vcvtq_f32_u32(vmovl_u16(vget_low_u16(words)));
}
template <int kUnitsPerGroup, int kStep>
static inline VecF v_unit_factors(const float* f) {
  return vdupq_n_f32(f[0]);
}
