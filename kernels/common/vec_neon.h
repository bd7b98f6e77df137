// Four f32 lanes: the vocabulary of kernel bodies for Armv8.0 Advanced SIMD. Meanings: vec_avx512.h. Only for
// ISA files.
#pragma once

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef float32x4_t VecF;
typedef int32x4_t VecI;
static constexpr int kLanes = 4;
static constexpr int kTileAccumulators = 16;

static inline VecF v_zero() {
  return vdupq_n_f32(0.0f);
}
static inline VecF v_set1(float x) {
  return vdupq_n_f32(x);
}
static inline VecF v_add(VecF a, VecF b) {
  return vaddq_f32(a, b);
}
static inline VecF v_sub(VecF a, VecF b) {
  return vsubq_f32(a, b);
}
static inline VecF v_mul(VecF a, VecF b) {
  return vmulq_f32(a, b);
}
static inline VecF v_div(VecF a, VecF b) {
  return vdivq_f32(a, b);
}
static inline VecF v_fma(VecF a, VecF b, VecF c) {
  return vfmaq_f32(c, a, b);
}
static inline VecF v_fnma(VecF a, VecF b, VecF c) {
  return vfmsq_f32(c, a, b);
}
static inline VecF v_min(VecF a, VecF b) {
  return vminq_f32(a, b);
}
static inline VecF v_max(VecF a, VecF b) {
  return vmaxq_f32(a, b);
}
static inline VecF v_abs(VecF a) {
  return vabsq_f32(a);
}
static inline VecF v_round(VecF a) {
  return vrndnq_f32(a);
}
static inline VecF v_with_sign(VecF x, VecF s) {
  return vbslq_f32(vdupq_n_u32(0x80000000u), s, x);
}
static inline VecF v_if_less(VecF a, VecF b, VecF x, VecF y) {
  return vbslq_f32(vcltq_f32(a, b), x, y);
}
static inline uint32_t v_above(VecF x, VecF t, VecF* out) {
  const uint32x4_t above = vmvnq_u32(vcleq_f32(vabsq_f32(x), t));
  const uint32_t weights[4] = {1, 2, 4, 8};
  *out = vreinterpretq_f32_u32(vandq_u32(above, vreinterpretq_u32_f32(x)));
  return vaddvq_u32(vandq_u32(above, vld1q_u32(weights)));
}
static inline void v_list(uint32_t* list, uint32_t base, uint32_t bits) {
  for (uint32_t i = 0; i < 4; ++i) {
    *list = base + i;
    list += (bits >> i) & 1;
  }
}
// A bit of each of 64 bytes, which are all ones or all zeros.
static inline uint64_t v_bits_64(uint8x16_t a, uint8x16_t b, uint8x16_t c, uint8x16_t d) {
  const uint8x16_t powers = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201u));
  const uint8x16_t ab = vpaddq_u8(vandq_u8(a, powers), vandq_u8(b, powers));
  const uint8x16_t cd = vpaddq_u8(vandq_u8(c, powers), vandq_u8(d, powers));
  const uint8x16_t all = vpaddq_u8(ab, cd);
  return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(all, all)), 0);
}
// In two steps, so that the powers stay normal and the last product does the rounding.
static inline VecF v_scale2(VecF x, VecF n) {
  const int32x4_t exponent = vcvtnq_s32_f32(n);
  const int32x4_t first = vshrq_n_s32(exponent, 1);
  const int32x4_t second = vsubq_s32(exponent, first);
  const float32x4_t a = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(first, vdupq_n_s32(127)), 23));
  const float32x4_t b = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(second, vdupq_n_s32(127)), 23));
  return vmulq_f32(vmulq_f32(x, a), b);
}
// 2^x for x <= 0 or little above it; relative error below 2^-22.5; 0 below -125. The polynomial is minimax on
// [0, 1) and stays in [1, 2], so that n can be added to its exponent.
static inline VecF v_exp2_negative(VecF x) {
  const VecF n = vrndmq_f32(x), f = v_sub(x, n);
  VecF p = v_set1(0.0018775767f);
  p = v_fma(p, f, v_set1(0.00898934f));
  p = v_fma(p, f, v_set1(0.055826318f));
  p = v_fma(p, f, v_set1(0.24015361f));
  p = v_fma(p, f, v_set1(0.6931531f));
  p = v_fma(p, f, v_set1(0.99999994f));
  // The conversion makes 0 of a NaN, which p is then.
  const VecI power = vaddq_s32(vreinterpretq_s32_f32(p), vshlq_n_s32(vcvtq_s32_f32(n), 23));
  return v_if_less(x, v_set1(-125.0f), v_zero(), vreinterpretq_f32_s32(power));
}

static inline float v_hsum(VecF a) {
  return vaddvq_f32(a);
}
static inline float v_hmax(VecF a) {
  return vmaxvq_f32(a);
}
static inline void v_hsum4(const VecF* v, float* out) {
  vst1q_f32(out, vpaddq_f32(vpaddq_f32(v[0], v[1]), vpaddq_f32(v[2], v[3])));
}

static inline VecF v_load(const float* p) {
  return vld1q_f32(p);
}
static inline void v_store(float* p, VecF a) {
  vst1q_f32(p, a);
}
static inline VecF v_load_part(const float* p, size_t n, float rest) {
  float buffer[4] = {rest, rest, rest, rest};
  for (size_t i = 0; i < n && i < 4; ++i) buffer[i] = p[i];
  return vld1q_f32(buffer);
}
static inline void v_store_part(float* p, VecF a, size_t n) {
  float buffer[4];
  vst1q_f32(buffer, a);
  for (size_t i = 0; i < n && i < 4; ++i) p[i] = buffer[i];
}

static inline VecF v_load_f16(const uint16_t* p) {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
static inline VecF v_load_bf16(const uint16_t* p) {
  return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
}
static inline VecF v_load_i8(const int8_t* p) {
  int32_t four;
  memcpy(&four, p, sizeof four);
  const int8x8_t bytes = vreinterpret_s8_s32(vdup_n_s32(four));
  return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes))));
}
static inline void v_store_f16(uint16_t* p, VecF a) {
  vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(a)));
}
static inline float v_f32_of_f16(uint16_t bits) {
  return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits))), 0);
}
static inline uint16_t v_f16_of_f32(float value) {
  return vget_lane_u16(vreinterpret_u16_f16(vcvt_f16_f32(vdupq_n_f32(value))), 0);
}
static inline void v_store_bf16(uint16_t* p, VecF a) {
  const uint32x4_t bits = vreinterpretq_u32_f32(a);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
  const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
  vst1_u16(p, vshrn_n_u32(vbslq_u32(vceqq_f32(a, a), rounded, quiet), 16));
}

static inline VecI vi_zero() {
  return vdupq_n_s32(0);
}
static inline VecI vi_add(VecI a, VecI b) {
  return vaddq_s32(a, b);
}
static inline VecI vi_sub(VecI a, VecI b) {
  return vsubq_s32(a, b);
}
static inline int32_t vi_hsum(VecI a) {
  return vaddvq_s32(a);
}
static inline VecI vi_nearest(VecF a) {
  return vcvtnq_s32_f32(a);
}
static inline VecI vi_abs_bits(VecF a) {
  return vreinterpretq_s32_f32(vabsq_f32(a));
}
static inline VecI vi_max(VecI a, VecI b) {
  return vmaxq_s32(a, b);
}
static inline int32_t vi_hmax(VecI a) {
  return vmaxvq_s32(a);
}
static inline void vi_store_i8(int8_t* p, VecI a) {
  const int16x4_t words = vmovn_s32(a);
  const int8x8_t bytes = vmovn_s16(vcombine_s16(words, words));
  const int32_t four = vget_lane_s32(vreinterpret_s32_s8(bytes), 0);
  memcpy(p, &four, sizeof four);
}

static constexpr int kPrefetchBytes = 8192;
__attribute__((always_inline)) static inline void v_prefetch(const void* p) {
  __builtin_prefetch(p, 0, 3);
}
