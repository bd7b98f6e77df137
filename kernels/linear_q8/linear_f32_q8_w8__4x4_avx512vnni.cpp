// 64 codes a dpbusd. Groups of 64 and 128 are whole vectors (a short last group of 32 or 96 masks the
// activations); with groups of 32 a vector holds two groups, and its halves have factors and sums of their
// own.
#define MINNOW_VEC "kernels/common/vec_avx512.h"
#include "kernels/linear_q8/body.h"

namespace {

// Lanes 0-7 take element 0, lanes 8-15 element 1.
static inline __m512i halves() {
  return _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
}

// -128 sum_x of up to 16 groups: what the first lane of a group (or of its half) starts with.
static inline __m512i starts_of(const int32_t* xsum, __mmask16 present) {
  const __m512i sum = _mm512_maskz_loadu_epi32(present, xsum);
  return _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(sum, 7));
}

// Activations; the last vector of a row may be half.
static inline __m512i load_x(const int8_t* x, size_t left) {
  return _mm512_maskz_loadu_epi8(left >= 64 ? ~(__mmask64)0 : ~(__mmask64)0 >> 32, x);
}

// Few columns: memory is the limit, so row after row, as memory lies. The factors and starts of 16 groups
// stay in a register each, and `pick` walks along their lanes. kPairs: groups of 32, two a vector.
template <int kColumns, bool kPairs>
static inline void by_rows(const LinearQ8Args* args, const Q8Block* block, float (*sums)[kBlockRows]) {
  const size_t groups = (args->k + args->group - 1) / args->group;
  const size_t step = (kPairs ? 2 : 1) * args->group;  // inputs taken together
  __m512 totals[kColumns][kBlockRows];
  for (int r = 0; r < kBlockRows; ++r) {
    const uint8_t* row = block->rows[r];
    __m512 total[kColumns];
    for (int c = 0; c < kColumns; ++c) total[c] = _mm512_setzero_ps();
    for (size_t g0 = 0; g0 < groups; g0 += kBlockGroups) {
      const size_t count = groups - g0 < kBlockGroups ? groups - g0 : (size_t)kBlockGroups;
      const __mmask16 present = (__mmask16)((1u << count) - 1u);
      const __m512 scales = v_load_f16(block->scales[r] + g0);
      __m512 factors[kColumns];
      __m512i starts[kColumns];
      for (int c = 0; c < kColumns; ++c) {
        const size_t at = (size_t)c * args->xs_stride + g0;
        starts[c] = starts_of(block->xsum + at, present);
        factors[c] = _mm512_maskz_mul_ps(present, _mm512_maskz_loadu_ps(present, block->xs + at), scales);
      }
      __m512i pick = kPairs ? halves() : _mm512_setzero_si512();
      const size_t block_end = args->k < (g0 + count) * args->group ? args->k : (g0 + count) * args->group;
      for (size_t first = g0 * args->group; first < block_end; first += step) {
        const size_t end = block_end - first < step ? block_end : first + step;
        __m512i acc[kColumns];
        for (int c = 0; c < kColumns; ++c) {
          acc[c] = _mm512_maskz_permutexvar_epi32(kPairs ? 0x0101 : 0x0001, pick, starts[c]);
        }
        for (size_t i = first; i < end; i += 64) {
          q8_prefetch(block, row + i);
          const __m512i w = _mm512_loadu_si512(row + i);
          for (int c = 0; c < kColumns; ++c) {
            const __m512i x = load_x(block->x + (size_t)c * args->xq_stride + i, end - i);
            acc[c] = _mm512_dpbusd_epi32(acc[c], w, x);
          }
        }
        for (int c = 0; c < kColumns; ++c) {
          total[c] =
              _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[c]), _mm512_permutexvar_ps(pick, factors[c]), total[c]);
        }
        pick = _mm512_add_epi32(pick, _mm512_set1_epi32(kPairs ? 2 : 1));
      }
    }
    for (int c = 0; c < kColumns; ++c) totals[c][r] = total[c];
  }
  for (int c = 0; c < kColumns; ++c) v_hsum4(totals[c], sums[c]);
}

// Many columns: arithmetic is the limit, so four rows by two columns in registers; activations are loaded
// once for four rows.
template <int kColumns, bool kPairs>
static inline void by_tiles(const LinearQ8Args* args, const Q8Block* block, float (*sums)[kBlockRows]) {
  __m512 total[kColumns][kBlockRows];
  for (int c = 0; c < kColumns; ++c) {
    for (int r = 0; r < kBlockRows; ++r) total[c][r] = _mm512_setzero_ps();
  }
  const size_t groups = (args->k + args->group - 1) / args->group;
  const size_t step = kPairs ? 2 : 1;  // groups taken together
  for (size_t g0 = 0; g0 < groups; g0 += kBlockGroups) {
    const size_t count = groups - g0 < kBlockGroups ? groups - g0 : (size_t)kBlockGroups;
    const __mmask16 present = (__mmask16)((1u << count) - 1u);
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
    for (size_t j = 0; j < count; j += step) {
      const size_t first = (g0 + j) * args->group;
      const size_t end = args->k - first < step * args->group ? args->k : first + step * args->group;
      __m512i acc[kColumns][kBlockRows];
      for (int c = 0; c < kColumns; ++c) {
        const __m512i start =
            kPairs ? _mm512_maskz_permutexvar_epi32(
                         0x0101, halves(),
                         _mm512_castsi128_si512(_mm_loadl_epi64((const __m128i*)&starts[c][j])))
                   : _mm512_zextsi128_si512(_mm_cvtsi32_si128(starts[c][j]));
        for (int r = 0; r < kBlockRows; ++r) acc[c][r] = start;
      }
      for (size_t i = first; i < end; i += 64) {
        __m512i w[kBlockRows];
        for (int r = 0; r < kBlockRows; ++r) w[r] = _mm512_loadu_si512(block->rows[r] + i);
        for (int c = 0; c < kColumns; ++c) {
          const __m512i x = load_x(block->x + (size_t)c * args->xq_stride + i, end - i);
          for (int r = 0; r < kBlockRows; ++r) acc[c][r] = _mm512_dpbusd_epi32(acc[c][r], w[r], x);
        }
      }
      for (int c = 0; c < kColumns; ++c) {
        for (int r = 0; r < kBlockRows; ++r) {
          const float* at = &factors[c][r][j];
          const __m512 factor =
              kPairs ? _mm512_permutexvar_ps(
                           halves(),
                           _mm512_castps128_ps512(_mm_castsi128_ps(_mm_loadl_epi64((const __m128i*)at))))
                     : _mm512_set1_ps(*at);
          total[c][r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[c][r]), factor, total[c][r]);
        }
      }
    }
  }
  for (int c = 0; c < kColumns; ++c) v_hsum4(total[c], sums[c]);
}

template <bool kPairs>
static inline void columns_of(const LinearQ8Args* args, const Q8Block* block, size_t columns,
                              float (*sums)[kBlockRows]) {
  if (args->m > 4) {
    if (columns == 2) return by_tiles<2, kPairs>(args, block, sums);
    return by_tiles<1, kPairs>(args, block, sums);
  }
  switch (columns) {
    case 1:
      return by_rows<1, kPairs>(args, block, sums);
    case 2:
      return by_rows<2, kPairs>(args, block, sums);
    case 3:
      return by_rows<3, kPairs>(args, block, sums);
    default:
      return by_rows<4, kPairs>(args, block, sums);
  }
}

struct Avx512Vnni {
  static inline size_t columns(const LinearQ8Args* args) { return args->m > 4 ? 2 : 4; }
  static inline void run(const LinearQ8Args* args, const Q8Block* block, size_t columns,
                         float (*sums)[kBlockRows]) {
    if (args->group == 32) return columns_of<true>(args, block, columns, sums);
    columns_of<false>(args, block, columns, sums);
  }
};

}  // namespace

extern "C" void linear_f32_q8_w8__4x4_avx512vnni(const LinearQ8Args* args) {
  linear_q8_body<Avx512Vnni>(args);
}
