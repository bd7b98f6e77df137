// What attention needs of AVX-512 beyond the vocabulary, and its tiles of floats.
#pragma once

#include "kernels/common/vec_avx512.h"

namespace {

static inline void vi_store(uint32_t* p, VecI v) {
  _mm512_storeu_si512(p, v);
}
static inline VecI vi_load(const uint32_t* p) {
  return _mm512_loadu_si512(p);
}

// a * b - c
static inline VecF v_fms(VecF a, VecF b, VecF c) {
  return _mm512_fmsub_ps(a, b, c);
}

// kLanes pairs at p to a[i], b[i].
static inline void v_load_pairs(const float* p, float* a, float* b) {
  const VecF low = v_load(p), high = v_load(p + 16);
  const VecI even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  v_store(a, _mm512_permutex2var_ps(low, even, high));
  v_store(b, _mm512_permutex2var_ps(low, _mm512_add_epi32(even, _mm512_set1_epi32(1)), high));
}

// v[i][j] becomes v[j][i].
static inline void vi_transpose(VecI* v) {
  VecI a[16];
  for (int i = 0; i < 16; i += 2) {
    a[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    a[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    v[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
    v[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
    v[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
    v[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
  }
  // Now block b of 128 bits of v[4 r + i] is column 4 b + i of rows 4 r to 4 r + 3.
  for (int i = 0; i < 4; ++i) {
    const VecI low0 = _mm512_shuffle_i32x4(v[i], v[i + 4], 0x44);
    const VecI high0 = _mm512_shuffle_i32x4(v[i], v[i + 4], 0xee);
    const VecI low1 = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0x44);
    const VecI high1 = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0xee);
    a[i] = _mm512_shuffle_i32x4(low0, low1, 0x88);
    a[i + 4] = _mm512_shuffle_i32x4(low0, low1, 0xdd);
    a[i + 8] = _mm512_shuffle_i32x4(high0, high1, 0x88);
    a[i + 12] = _mm512_shuffle_i32x4(high0, high1, 0xdd);
  }
  for (int i = 0; i < 16; ++i) v[i] = a[i];
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

  static inline VecI load_k(const Element* p, size_t) { return _mm512_castps_si512(Row::load(p)); }
  static inline VecF load_value(const Element* p) { return Row::load(p); }
  static inline void unpermute(VecF*) {}
  static inline VecF load(const uint32_t* p) { return v_load((const float*)p); }
  static inline VecF spread(const uint32_t* p) { return v_set1(*(const float*)p); }
  static inline VecF start(int32_t) { return v_zero(); }
  static inline VecF value_start(const int32_t*) { return v_zero(); }
  static inline VecF dot_k(VecF acc, VecF k, VecF q) { return v_fma(k, q, acc); }
  static inline VecF dot_v(VecF acc, VecF v, VecF w) { return v_fma(v, w, acc); }
  static inline VecF to_float(VecF acc) { return acc; }
  static inline void store_weights(float* p, const float* w, VecF) {
    for (int i = 0; i < kPositions / 16; ++i) v_store(p + 16 * i, v_load(w + 16 * i));
  }
};

}  // namespace
