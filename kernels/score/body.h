// The body of the SIMD variants. Lanes are keys, so nothing is summed across them. A tile is up to
// kScoreHeads queries by kVecs vectors of keys, its sums in registers: few queries take more keys. Stretches
// of panels that the first-level cache holds meet all queries before the next: the first queries' turn
// fetches ahead, in the order of memory.
#pragma once

#include MINNOW_VEC

#include "kernels/common/unroll.h"
#include "kernels/score/score.h"

namespace {

// GCC 12 spills sums where all of this is one function.
#define MINNOW_APART __attribute__((noinline))

static constexpr size_t kStretchBytes = 16384;
static constexpr int kPanelVecs = kScorePanel / kLanes;
static constexpr int kScoreVecs = kPanelVecs < 2 ? 2 : kPanelVecs;
static constexpr int kScoreHeads = kTileAccumulators / kScoreVecs;

// Queries [g, g + R), kVecs vectors of keys from m on; `ahead` is fetched at the pace of reading.
template <int R, int kVecs, bool fetch>
static inline void score_tile(const ScoreArgs* args, size_t g, size_t m, const char* ahead) {
  const size_t dim = args->dim;
  const uint16_t* k = args->k + m * dim;
  const float* q = args->q + g * args->q_stride;
  VecF acc[R][kVecs];
  unroll_block<R, kVecs>([&](auto r, auto v) __attribute__((always_inline)) { acc[r][v] = v_zero(); });
  for (size_t d = 0; d < dim; d += 2) {
    if (fetch) {
      for (int line = 0; line < kVecs / kPanelVecs; ++line) v_prefetch(ahead + line * 64);
      ahead += kVecs / kPanelVecs * 64;
    }
    for (size_t i = 0; i < 2; ++i) {
      VecF keys[kVecs];
      unroll<0, kVecs>([&](auto v) __attribute__((always_inline)) {
        const size_t panel = (size_t)(v / kPanelVecs) * dim * kScorePanel;
        keys[v] = v_load_f16(k + panel + (d + i) * kScorePanel + v % kPanelVecs * kLanes);
      });
      unroll<0, R>([&](auto r) __attribute__((always_inline)) {
        const VecF query = v_set1(q[(size_t)r * args->q_stride + d + i]);
        unroll<0, kVecs>([&](auto v) __attribute__((always_inline)) {
          acc[r][v] = v_fma(keys[v], query, acc[r][v]);
        });
      });
    }
  }
  unroll_block<R, kVecs>([&](auto r, auto v) __attribute__((always_inline)) {
    v_store(args->y + (g + (size_t)r) * args->y_stride + m + v * kLanes, acc[r][v]);
  });
}

template <int R, bool fetch>
static MINNOW_APART void score_stretch(const ScoreArgs* args, size_t g, size_t m, size_t end) {
  constexpr int kVecs = R * 2 <= kScoreHeads ? 2 * kScoreVecs : kScoreVecs;
  constexpr size_t kStep = kVecs * kLanes;
  const size_t key = args->dim * sizeof(uint16_t);
  for (; m + kStep <= end; m += kStep) {
    if (fetch && (m + kStep) * key + kPrefetchBytes <= args->n * key)
      score_tile<R, kVecs, true>(args, g, m, (const char*)args->k + m * key + kPrefetchBytes);
    else
      score_tile<R, kVecs, false>(args, g, m, nullptr);
  }
  if constexpr (kVecs > kPanelVecs) {
    for (; m < end; m += kScorePanel) score_tile<R, kPanelVecs, false>(args, g, m, nullptr);
  }
}

// R or fewer queries.
template <int R>
static inline void score_some(const ScoreArgs* args, size_t g, size_t count, size_t m, size_t end) {
  if constexpr (R > 1) {
    if (count < R) return score_some<R - 1>(args, g, count, m, end);
  }
  if (g == 0)
    score_stretch<R, true>(args, g, m, end);
  else
    score_stretch<R, false>(args, g, m, end);
}

static inline void score_body(const ScoreArgs* args) {
  // Even shares: 5 + 4 waits less than 8 + 1.
  const size_t shares = (args->heads + kScoreHeads - 1) / kScoreHeads;
  const size_t share = (args->heads + shares - 1) / shares;
  const size_t panel_bytes = args->dim * kScorePanel * sizeof(uint16_t);
  const size_t fours = kStretchBytes / (4 * panel_bytes);
  const size_t step = (fours > 0 ? fours : 1) * 4 * kScorePanel;
  for (size_t m = 0; m < args->n; m += step) {
    const size_t end = args->n - m < step ? args->n : m + step;
    for (size_t g = 0; g < args->heads; g += share) {
      const size_t left = args->heads - g;
      score_some<kScoreHeads>(args, g, left < share ? left : share, m, end);
    }
  }
}

}  // namespace
