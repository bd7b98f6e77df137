// 64 codes a dpbusd. Groups of 64 and 128 are one and two vectors; with groups of 32 a vector holds two
// groups, and its halves have factors and sums of their own. Everything inside a group is unrolled (the group
// is a template argument): GCC 12 copies accumulators in and out of loops around dpbusd.
#define MINNOW_VEC "kernels/common/vec_avx512.h"
#include "kernels/linear_q8/body.h"

namespace {

// What a step takes: kVectors * 64 inputs, one group or, kPairs, two groups of 32.
template <int kGroup>
struct Step {
  static constexpr bool kPairs = kGroup == 32;
  static constexpr int kVectors = kGroup == 128 ? 2 : 1;
  static constexpr int kGroups = kPairs ? 2 : 1;
  static constexpr int kInputs = 64 * kVectors;
  static constexpr __mmask16 kFirstLanes = kPairs ? 0x0101 : 0x0001;
  // Lanes 0-7 take element 0; lanes 8-15 element 1 if there are two groups.
  static inline __m512i pick() {
    return kPairs ? _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1)
                  : _mm512_setzero_si512();
  }
};

static inline __mmask16 lanes(size_t count) {
  return (__mmask16)((1u << count) - 1u);
}

// -128 sum_x of up to 16 groups: what the first lane of a group starts with.
static inline __m512i starts_of(const int32_t* xsum, __mmask16 present) {
  const __m512i sum = _mm512_maskz_loadu_epi32(present, xsum);
  return _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(sum, 7));
}

// 64 activations. kLast: `left` of them, a multiple of 32 that may be 0 or less; nothing beyond may be read.
template <bool kLast>
static inline __m512i load_x(const int8_t* x, ptrdiff_t left) {
  if (!kLast || left >= 64) return _mm512_loadu_si512(x);
  return left > 0 ? _mm512_zextsi256_si512(_mm256_loadu_si256((const __m256i*)x)) : _mm512_setzero_si512();
}

// One step of one row: total[c] += ...; `left` inputs remain.
template <int kGroup, int kColumns, bool kLast>
__attribute__((always_inline)) static inline void row_step(const Q8Block* block, const uint8_t* w,
                                                           const int8_t* x, size_t x_stride, ptrdiff_t left,
                                                           __m512i pick, const __m512i* starts,
                                                           const __m512* factors, __m512* total) {
  __m512i acc[kColumns];
  for (int c = 0; c < kColumns; ++c) {
    acc[c] = _mm512_maskz_permutexvar_epi32(Step<kGroup>::kFirstLanes, pick, starts[c]);
  }
  for (int v = 0; v < Step<kGroup>::kVectors; ++v) {
    q8_prefetch(block, w + 64 * v);
    const __m512i codes = kLast && left <= 64 * v ? _mm512_setzero_si512() : _mm512_loadu_si512(w + 64 * v);
    for (int c = 0; c < kColumns; ++c) {
      acc[c] =
          _mm512_dpbusd_epi32(acc[c], codes, load_x<kLast>(x + (size_t)c * x_stride + 64 * v, left - 64 * v));
    }
  }
  for (int c = 0; c < kColumns; ++c) {
    total[c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[c]), _mm512_permutexvar_ps(pick, factors[c]), total[c]);
  }
}

// Few columns: memory is the limit, so row after row, as memory lies. The factors and starts of 16 groups
// stay in a register each, and `pick` walks along their lanes.
template <int kGroup, int kColumns>
static inline void by_rows(const LinearQ8Args* args, const Q8Block* block, float (*sums)[kBlockRows]) {
  typedef Step<kGroup> S;
  const size_t k = args->k, groups = (k + kGroup - 1) / kGroup, x_stride = args->xq_stride;
  __m512 totals[kColumns][kBlockRows];
  for (int r = 0; r < kBlockRows; ++r) {
    const uint8_t* row = block->rows[r];
    __m512 total[kColumns];
    for (int c = 0; c < kColumns; ++c) total[c] = _mm512_setzero_ps();
    for (size_t g0 = 0; g0 < groups; g0 += kBlockGroups) {
      const __mmask16 present = lanes(groups - g0 < kBlockGroups ? groups - g0 : (size_t)kBlockGroups);
      const __m512 scales = v_load_f16(block->scales[r] + g0);
      __m512 factors[kColumns];
      __m512i starts[kColumns];
      for (int c = 0; c < kColumns; ++c) {
        const size_t at = (size_t)c * args->xs_stride + g0;
        starts[c] = starts_of(block->xsum + at, present);
        factors[c] = _mm512_maskz_mul_ps(present, _mm512_maskz_loadu_ps(present, block->xs + at), scales);
      }
      __m512i pick = S::pick();
      size_t i = g0 * kGroup;
      const size_t end = k < i + kBlockGroups * kGroup ? k : i + kBlockGroups * kGroup;
      for (; i + S::kInputs <= end; i += S::kInputs) {
        row_step<kGroup, kColumns, false>(block, row + i, block->x + i, x_stride, 0, pick, starts, factors,
                                          total);
        pick = _mm512_add_epi32(pick, _mm512_set1_epi32(S::kGroups));
      }
      if (i < end) {
        row_step<kGroup, kColumns, true>(block, row + i, block->x + i, x_stride, (ptrdiff_t)(end - i), pick,
                                         starts, factors, total);
      }
    }
    for (int c = 0; c < kColumns; ++c) totals[c][r] = total[c];
  }
  for (int c = 0; c < kColumns; ++c) v_hsum4(totals[c], sums[c]);
}

// One step of four rows: total[c][r] += ...; w and x point at the step's first input, `left` inputs remain.
template <int kGroup, int kColumns, bool kLast>
__attribute__((always_inline)) static inline void tile_step(const uint8_t* w0, const uint8_t* w1,
                                                            const uint8_t* w2, const uint8_t* w3,
                                                            const int8_t* x, size_t x_stride, ptrdiff_t left,
                                                            const int32_t (*starts)[kBlockGroups],
                                                            const float (*factors)[kBlockRows][kBlockGroups],
                                                            size_t j, __m512 (*total)[kBlockRows]) {
  typedef Step<kGroup> S;
  const uint8_t* const w[kBlockRows] = {w0, w1, w2, w3};
  __m512i acc[kColumns][kBlockRows];
  for (int c = 0; c < kColumns; ++c) {
    const __m128i at =
        S::kPairs ? _mm_loadl_epi64((const __m128i*)&starts[c][j]) : _mm_cvtsi32_si128(starts[c][j]);
    const __m512i wide = _mm512_zextsi128_si512(at);
    const __m512i start = S::kPairs ? _mm512_maskz_permutexvar_epi32(S::kFirstLanes, S::pick(), wide) : wide;
    for (int r = 0; r < kBlockRows; ++r) acc[c][r] = start;
  }
  for (int v = 0; v < S::kVectors; ++v) {
    __m512i xv[kColumns];
    for (int c = 0; c < kColumns; ++c)
      xv[c] = load_x<kLast>(x + (size_t)c * x_stride + 64 * v, left - 64 * v);
    for (int r = 0; r < kBlockRows; ++r) {
      const __m512i codes =
          kLast && left <= 64 * v ? _mm512_setzero_si512() : _mm512_loadu_si512(w[r] + 64 * v);
      for (int c = 0; c < kColumns; ++c) acc[c][r] = _mm512_dpbusd_epi32(acc[c][r], codes, xv[c]);
    }
  }
  for (int c = 0; c < kColumns; ++c) {
    for (int r = 0; r < kBlockRows; ++r) {
      const float* at = &factors[c][r][j];
      const __m512 factor = S::kPairs
                                ? _mm512_permutexvar_ps(S::pick(), _mm512_castsi512_ps(_mm512_zextsi128_si512(
                                                                       _mm_loadl_epi64((const __m128i*)at))))
                                : _mm512_set1_ps(*at);
      total[c][r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[c][r]), factor, total[c][r]);
    }
  }
}

// Many columns: arithmetic is the limit, so four rows by two columns in registers; activations are loaded
// once for four rows.
template <int kGroup, int kColumns>
static inline void by_tiles(const LinearQ8Args* args, const Q8Block* block, float (*sums)[kBlockRows]) {
  typedef Step<kGroup> S;
  const size_t k = args->k, groups = (k + kGroup - 1) / kGroup, x_stride = args->xq_stride;
  const uint8_t* const w0 = block->rows[0];
  const uint8_t* const w1 = block->rows[1];
  const uint8_t* const w2 = block->rows[2];
  const uint8_t* const w3 = block->rows[3];
  const int8_t* const x = block->x;
  __m512 total[kColumns][kBlockRows];
  for (int c = 0; c < kColumns; ++c) {
    for (int r = 0; r < kBlockRows; ++r) total[c][r] = _mm512_setzero_ps();
  }
  for (size_t g0 = 0; g0 < groups; g0 += kBlockGroups) {
    const __mmask16 present = lanes(groups - g0 < kBlockGroups ? groups - g0 : (size_t)kBlockGroups);
    float factors[kColumns][kBlockRows][kBlockGroups];  // 0 where a group is missing
    int32_t starts[kColumns][kBlockGroups];
    for (int c = 0; c < kColumns; ++c) {
      const size_t at = (size_t)c * args->xs_stride + g0;
      _mm512_storeu_si512(starts[c], starts_of(block->xsum + at, present));
      const __m512 xs = _mm512_maskz_loadu_ps(present, block->xs + at);
      for (int r = 0; r < kBlockRows; ++r) {
        v_store(factors[c][r], _mm512_maskz_mul_ps(present, xs, v_load_f16(block->scales[r] + g0)));
      }
    }
    size_t i = g0 * kGroup, j = 0;
    const size_t end = k < i + kBlockGroups * kGroup ? k : i + kBlockGroups * kGroup;
    for (; i + S::kInputs <= end; i += S::kInputs, j += S::kGroups) {
      tile_step<kGroup, kColumns, false>(w0 + i, w1 + i, w2 + i, w3 + i, x + i, x_stride, 0, starts, factors,
                                         j, total);
    }
    if (i < end) {
      tile_step<kGroup, kColumns, true>(w0 + i, w1 + i, w2 + i, w3 + i, x + i, x_stride, (ptrdiff_t)(end - i),
                                        starts, factors, j, total);
    }
  }
  for (int c = 0; c < kColumns; ++c) v_hsum4(total[c], sums[c]);
}

template <int kGroup>
static inline void of_group(const LinearQ8Args* args, const Q8Block* block, size_t columns,
                            float (*sums)[kBlockRows]) {
  if (args->m > 4) {
    if (columns == 2) return by_tiles<kGroup, 2>(args, block, sums);
    return by_tiles<kGroup, 1>(args, block, sums);
  }
  switch (columns) {
    case 1:
      return by_rows<kGroup, 1>(args, block, sums);
    case 2:
      return by_rows<kGroup, 2>(args, block, sums);
    case 3:
      return by_rows<kGroup, 3>(args, block, sums);
    default:
      return by_rows<kGroup, 4>(args, block, sums);
  }
}

struct Avx512Vnni {
  static inline size_t columns(const LinearQ8Args* args) { return args->m > 4 ? 2 : 4; }
  static inline void run(const LinearQ8Args* args, const Q8Block* block, size_t columns,
                         float (*sums)[kBlockRows]) {
    switch (args->group) {
      case 32:
        return of_group<32>(args, block, columns, sums);
      case 64:
        return of_group<64>(args, block, columns, sums);
      default:
        return of_group<128>(args, block, columns, sums);
    }
  }
};

}  // namespace

extern "C" void linear_f32_q8_w8__4x4_avx512vnni(const LinearQ8Args* args) {
  linear_q8_body<Avx512Vnni>(args);
}
