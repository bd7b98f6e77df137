// What attention needs of AVX2 beyond the vocabulary, and its tiles of floats.
#pragma once

#include "kernels/common/vec_avx2.h"

namespace {

static inline void vi_store(uint32_t* p, VecI v) {
  _mm256_storeu_si256((__m256i*)p, v);
}
static inline VecI vi_load(const uint32_t* p) {
  return _mm256_loadu_si256((const __m256i*)p);
}

// a * b - c
static inline VecF v_fms(VecF a, VecF b, VecF c) {
  return _mm256_fmsub_ps(a, b, c);
}

// kLanes pairs at p to a[i], b[i].
static inline void v_load_pairs(const float* p, float* a, float* b) {
  const VecF low = v_load(p), high = v_load(p + 8);
  const VecF first = _mm256_permute2f128_ps(low, high, 0x20),
             second = _mm256_permute2f128_ps(low, high, 0x31);
  v_store(a, _mm256_shuffle_ps(first, second, 0x88));
  v_store(b, _mm256_shuffle_ps(first, second, 0xdd));
}

// v[i][j] becomes v[j][i].
static inline void vi_transpose(VecI* v) {
  VecI a[8];
  for (int i = 0; i < 8; i += 2) {
    a[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
    a[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    v[i] = _mm256_unpacklo_epi64(a[i], a[i + 2]);
    v[i + 1] = _mm256_unpackhi_epi64(a[i], a[i + 2]);
    v[i + 2] = _mm256_unpacklo_epi64(a[i + 1], a[i + 3]);
    v[i + 3] = _mm256_unpackhi_epi64(a[i + 1], a[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    a[i] = _mm256_permute2x128_si256(v[i], v[i + 4], 0x20);
    a[i + 4] = _mm256_permute2x128_si256(v[i], v[i + 4], 0x31);
  }
  for (int i = 0; i < 8; ++i) v[i] = a[i];
}

// Row is a loader of vec_types.h.
template <class Row>
struct FloatTile {
  typedef typename Row::Element Element;
  typedef float Weight;
  typedef float Query;
  typedef VecF Acc;
  typedef VecF Lanes;
  static constexpr int kUnit = 1, kPositions = 64, kRows = 4, kVecs = 2;
  static constexpr bool kRounded = false, kShifted = false;

  static inline VecI load_k(const Element* p, size_t) { return _mm256_castps_si256(Row::load(p)); }
  static inline VecF load_value(const Element* p) { return Row::load(p); }
  static inline void unpermute(VecF*) {}
  static inline VecF load(const uint32_t* p) { return v_load((const float*)p); }
  static inline VecF spread(const uint32_t* p) { return _mm256_broadcast_ss((const float*)p); }
  static inline VecF start(int32_t) { return v_zero(); }
  static inline VecF value_start(const int32_t*) { return v_zero(); }
  static inline VecF dot_k(VecF acc, VecF k, VecF q) { return v_fma(k, q, acc); }
  static inline VecF dot_v(VecF acc, VecF v, VecF w) { return v_fma(v, w, acc); }
  static inline VecF to_float(VecF acc) { return acc; }
  static inline void store_weights(float* p, const float* w, VecF) {
    for (int i = 0; i < kPositions / 8; ++i) v_store(p + 8 * i, v_load(w + 8 * i));
  }
};

}  // namespace
