// 64 codes a dpbusd. Groups of 64 and 128 are whole vectors (a short last group of 32 or 96 masks the
// activations); with groups of 32 a vector holds two groups, and its halves have factors and sums of their
// own.
#define MINNOW_VEC "kernels/common/vec_avx512.h"
#include "kernels/linear_q8/body.h"

namespace {

// kPairs: groups of 32, two a vector.
template <int kColumns, bool kPairs>
static inline void tile(const LinearQ8Args* args, const Q8Block* block, float (*sums)[kBlockRows]) {
  __m512 total[kColumns][kBlockRows];
  for (int c = 0; c < kColumns; ++c) {
    for (int r = 0; r < kBlockRows; ++r) total[c][r] = _mm512_setzero_ps();
  }
  // Lanes 0-7 take element 0, lanes 8-15 element 1.
  const __m512i halves = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
  const size_t ahead = kBlockRows * args->w_stride;
  const size_t groups = (args->k + args->group - 1) / args->group;
  const size_t step = kPairs ? 2 : 1;  // groups taken together
  for (size_t g0 = 0; g0 < groups; g0 += kBlockGroups) {
    float factors[kColumns][kBlockRows][2 * kBlockGroups];
    int32_t starts[kColumns][2 * kBlockGroups];  // -128 sum_x
    const size_t count = groups - g0 < kBlockGroups ? groups - g0 : (size_t)kBlockGroups;
    q8_factors<kColumns>(args, block, g0, count, factors);
    if (kPairs && count % 2 != 0) {  // the missing half of the last pair: its sum is 0, its factor must be finite
      for (int c = 0; c < kColumns; ++c) {
        for (int r = 0; r < kBlockRows; ++r) factors[c][r][count] = 0.0f;
      }
    }
    for (int c = 0; c < kColumns; ++c) {
      const int32_t* xsum = block->xsum + (size_t)c * args->xs_stride + g0;
      const __m512i sum = _mm512_maskz_loadu_epi32((__mmask16)((1u << count) - 1u), xsum);
      _mm512_storeu_si512(starts[c], _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(sum, 7)));
    }
    for (size_t j = 0; j < count; j += step) {
      const size_t first = (g0 + j) * args->group;
      const size_t end = args->k - first < step * args->group ? args->k : first + step * args->group;
      __m512i start[kColumns];
      for (int c = 0; c < kColumns; ++c) {
        start[c] = kPairs ? _mm512_maskz_permutexvar_epi32(0x0101, halves, _mm512_loadu_si512(&starts[c][j]))
                          : _mm512_zextsi128_si512(_mm_cvtsi32_si128(starts[c][j]));
      }
      __m512i acc[kColumns][kBlockRows];
      for (int c = 0; c < kColumns; ++c) {
        for (int r = 0; r < kBlockRows; ++r) acc[c][r] = start[c];
      }
      for (size_t i = first; i < end; i += 64) {
        const __mmask64 mask = end - i >= 64 ? ~(__mmask64)0 : ~(__mmask64)0 >> 32;
        __m512i w[kBlockRows];
        for (int r = 0; r < kBlockRows; ++r) {
          w[r] = _mm512_loadu_si512(block->rows[r] + i);
          if (kColumns == 1) _mm_prefetch((const char*)(block->rows[r] + i + ahead), _MM_HINT_T0);
        }
        for (int c = 0; c < kColumns; ++c) {
          const __m512i x = _mm512_maskz_loadu_epi8(mask, block->x + (size_t)c * args->xq_stride + i);
          for (int r = 0; r < kBlockRows; ++r) acc[c][r] = _mm512_dpbusd_epi32(acc[c][r], w[r], x);
        }
      }
      for (int c = 0; c < kColumns; ++c) {
        for (int r = 0; r < kBlockRows; ++r) {
          const float* factor = &factors[c][r][j];
          const __m512 f =
              kPairs ? _mm512_permutexvar_ps(halves, _mm512_loadu_ps(factor)) : _mm512_set1_ps(*factor);
          total[c][r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[c][r]), f, total[c][r]);
        }
      }
    }
  }
  for (int c = 0; c < kColumns; ++c) v_hsum4(total[c], sums[c]);
}

struct Avx512Vnni {
  static constexpr int kMaxColumns = 2;  // 8 totals, 8 sums, 4 rows: what 32 registers hold
  static inline void run(const LinearQ8Args* args, const Q8Block* block, size_t columns,
                         float (*sums)[kBlockRows]) {
    if (args->group == 32) {
      if (columns == 2) return tile<2, true>(args, block, sums);
      return tile<1, true>(args, block, sums);
    }
    if (columns == 2) return tile<2, false>(args, block, sums);
    tile<1, false>(args, block, sums);
  }
};

}  // namespace

extern "C" void linear_f32_q8_w8__4x2_avx512vnni(const LinearQ8Args* args) {
  linear_q8_body<Avx512Vnni>(args);
}
