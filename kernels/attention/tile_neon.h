// What attention needs of Advanced SIMD beyond the vocabulary, its tiles of floats, and those of int8 up to
// the dot product.
#pragma once

#include "kernels/common/vec_neon.h"

namespace {

static inline void vi_store(uint32_t* p, VecI v) {
  vst1q_u32(p, vreinterpretq_u32_s32(v));
}
static inline VecI vi_load(const uint32_t* p) {
  return vreinterpretq_s32_u32(vld1q_u32(p));
}

// a * b - c
static inline VecF v_fms(VecF a, VecF b, VecF c) {
  return vfmaq_f32(vnegq_f32(c), a, b);
}

// kLanes pairs at p to a[i], b[i].
static inline void v_load_pairs(const float* p, float* a, float* b) {
  const float32x4x2_t pairs = vld2q_f32(p);
  v_store(a, pairs.val[0]);
  v_store(b, pairs.val[1]);
}

// v[i][j] becomes v[j][i].
static inline void vi_transpose(VecI* v) {
  const int32x4_t a = vtrn1q_s32(v[0], v[1]), b = vtrn2q_s32(v[0], v[1]);
  const int32x4_t c = vtrn1q_s32(v[2], v[3]), d = vtrn2q_s32(v[2], v[3]);
  v[0] = vcombine_s32(vget_low_s32(a), vget_low_s32(c));
  v[1] = vcombine_s32(vget_low_s32(b), vget_low_s32(d));
  v[2] = vcombine_s32(vget_high_s32(a), vget_high_s32(c));
  v[3] = vcombine_s32(vget_high_s32(b), vget_high_s32(d));
}

// Row is a loader of vec_types.h.
template <class Row>
struct FloatTile {
  typedef typename Row::Element Element;
  typedef float Weight;
  typedef float Query;
  typedef VecF Acc;
  typedef VecF Lanes;
  static constexpr int kUnit = 1, kPositions = 64, kRows = 4, kVecs = 4;
  static constexpr bool kRounded = false, kShifted = false;

  static inline VecI load_k(const Element* p, size_t) { return vreinterpretq_s32_f32(Row::load(p)); }
  static inline VecF load_value(const Element* p) { return Row::load(p); }
  static inline void unpermute(VecF*) {}
  static inline VecF load(const uint32_t* p) { return v_load((const float*)p); }
  static inline VecF spread(const uint32_t* p) { return vld1q_dup_f32((const float*)p); }
  static inline VecF start(int32_t) { return v_zero(); }
  static inline VecF value_start(const int32_t*) { return v_zero(); }
  static inline VecF dot_k(VecF acc, VecF k, VecF q) { return v_fma(k, q, acc); }
  static inline VecF dot_v(VecF acc, VecF v, VecF w) { return v_fma(v, w, acc); }
  static inline VecF to_float(VecF acc) { return acc; }
  static inline void store_weights(float* p, const float* w, VecF) {
    for (int i = 0; i < kPositions / 4; ++i) v_store(p + 4 * i, v_load(w + 4 * i));
  }
};

// Everything is signed: weights of 0 to 255 lose 128, and sums over V begin with 128 times the sum of a
// dimension's codes. Dot::dot(acc, a, b) adds four products of int8 a lane; neither side's products of two
// exceed 2 * 128 * 127.
template <class Dot>
struct SignedTile {
  typedef int8_t Element;
  typedef int8_t Weight;
  typedef int8_t Query;
  typedef VecI Acc;
  typedef int8x16_t Lanes;
  static constexpr int kUnit = 4, kPositions = 128, kRows = 4, kVecs = 4;
  static constexpr bool kRounded = true, kShifted = true;

  static inline VecI load_k(const int8_t* p, size_t) { return vreinterpretq_s32_s8(vld1q_s8(p)); }
  static inline void pack_v(const int8_t* const* rows, size_t, VecI* out) {
    const int8x16_t a = vld1q_s8(rows[0]), b = vld1q_s8(rows[1]), c = vld1q_s8(rows[2]),
                    d = vld1q_s8(rows[3]);
    const int16x8_t ab0 = vreinterpretq_s16_s8(vzip1q_s8(a, b)), ab1 = vreinterpretq_s16_s8(vzip2q_s8(a, b));
    const int16x8_t cd0 = vreinterpretq_s16_s8(vzip1q_s8(c, d)), cd1 = vreinterpretq_s16_s8(vzip2q_s8(c, d));
    out[0] = vreinterpretq_s32_s16(vzip1q_s16(ab0, cd0));
    out[1] = vreinterpretq_s32_s16(vzip2q_s16(ab0, cd0));
    out[2] = vreinterpretq_s32_s16(vzip1q_s16(ab1, cd1));
    out[3] = vreinterpretq_s32_s16(vzip2q_s16(ab1, cd1));
  }
  static inline void unpermute(VecF*) {}
  static inline int8x16_t load(const uint32_t* p) { return vld1q_s8((const int8_t*)p); }
  static inline int8x16_t spread(const uint32_t* p) { return vreinterpretq_s8_u32(vld1q_dup_u32(p)); }
  static inline VecI start(int32_t) { return vi_zero(); }
  // start + 128 * the sum of four codes of v a lane
  static inline VecI shift(VecI start, VecI v) {
    const int16x8_t pairs = vpaddlq_s8(vreinterpretq_s8_s32(v));
    return vaddq_s32(start, vshlq_n_s32(vpaddlq_s16(pairs), 7));
  }
  static inline VecI value_start(const int32_t* p) { return vld1q_s32(p); }
  static inline VecI dot_k(VecI acc, int8x16_t k, int8x16_t q) { return Dot::dot(acc, k, q); }
  static inline VecI dot_v(VecI acc, int8x16_t v, int8x16_t w) { return Dot::dot(acc, v, w); }
  static inline VecF to_float(VecI acc) { return vcvtq_f32_s32(acc); }
  static inline void store_query(int8_t* p, VecI codes) { vi_store_i8(p, codes); }
  static inline void store_weights(int8_t* p, const float* w, VecF factor) {
    for (int i = 0; i < kPositions / 4; i += 4) {
      int16x4_t codes[4];
      for (int j = 0; j < 4; ++j) codes[j] = vmovn_s32(vi_nearest(v_mul(v_load(w + 4 * (i + j)), factor)));
      const int8x8_t low = vmovn_s16(vsubq_s16(vcombine_s16(codes[0], codes[1]), vdupq_n_s16(128)));
      const int8x8_t high = vmovn_s16(vsubq_s16(vcombine_s16(codes[2], codes[3]), vdupq_n_s16(128)));
      vst1q_s8(p + 4 * i, vcombine_s8(low, high));
    }
  }
};

}  // namespace
