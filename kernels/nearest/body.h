// The body of the SIMD variants. A step is four vectors: their maximum first, then one comparison with the
// best so far and a note, in each lane that got better, of where the step began. Only the step that holds the
// first of the largest is looked through, at the end. Places are floats, which are exact up to 2^24.
#pragma once

#include MINNOW_VEC

#include "kernels/nearest/nearest.h"

namespace {

static constexpr size_t kStep = 4 * kLanes;

template <bool with_bias>
static inline VecF nearest_score(const float* x, const float* bias, size_t j) {
  return with_bias ? v_add(v_load(x + j), v_load(bias + j)) : v_load(x + j);
}

// What the lanes of one row know.
struct NearestBest {
  VecF value = v_set1(-__builtin_inff()), place = v_zero();
  inline void see(VecF score, VecF at) {
    place = v_if_less(value, score, at, place);
    value = v_max(value, score);
  }
};

template <bool with_bias>
static inline uint16_t nearest_id(const NearestArgs* args, const float* x, NearestBest best) {
  const VecF top = v_set1(v_hmax(best.value));
  const VecF place = v_if_less(best.value, top, v_set1(0x1p24f), best.place);
  const size_t start = (size_t)-v_hmax(v_sub(v_zero(), place));
  for (size_t j = start; j < start + kStep && j < args->n; j += kLanes) {
    const VecF score = nearest_score<with_bias>(x, args->bias, j);
    VecF unused;
    const uint32_t less = v_above(v_if_less(score, top, v_set1(1.0f), v_zero()), v_zero(), &unused);
    const uint32_t found = less ^ ((1u << kLanes) - 1);
    if (found != 0) return (uint16_t)(j + (size_t)__builtin_ctz(found));
  }
  return (uint16_t)start;  // NaNs only
}

// Rows share what is loaded of bias.
template <int rows, bool with_bias>
static inline void nearest_rows(const NearestArgs* args, size_t i) {
  const float* x = args->scores + i * args->stride;
  NearestBest best[rows];
  VecF at = v_zero();
  size_t j = 0;
  for (; j + kStep <= args->n; j += kStep) {
    VecF bias[4];
    for (size_t v = 0; v < 4; ++v) bias[v] = with_bias ? v_load(args->bias + j + v * kLanes) : v_zero();
    for (size_t r = 0; r < rows; ++r) {
      VecF score[4];
      for (size_t v = 0; v < 4; ++v) {
        score[v] = v_load(x + r * args->stride + j + v * kLanes);
        if (with_bias) score[v] = v_add(score[v], bias[v]);
      }
      best[r].see(v_max(v_max(score[0], score[1]), v_max(score[2], score[3])), at);
    }
    at = v_add(at, v_set1((float)kStep));
  }
  for (; j < args->n; j += kLanes) {
    for (size_t r = 0; r < rows; ++r)
      best[r].see(nearest_score<with_bias>(x + r * args->stride, args->bias, j), at);
    at = v_add(at, v_set1((float)kLanes));
  }
  for (size_t r = 0; r < rows; ++r) {
    args->id[(i + r) * args->id_stride] = nearest_id<with_bias>(args, x + r * args->stride, best[r]);
  }
}

template <int rows, bool with_bias>
static inline void nearest_all(const NearestArgs* args) {
  size_t i = 0;
  for (; i + rows <= args->m; i += rows) nearest_rows<rows, with_bias>(args, i);
  for (; i < args->m; ++i) nearest_rows<1, with_bias>(args, i);
}

template <int rows>
static inline void nearest_body(const NearestArgs* args) {
  if (args->bias != nullptr)
    nearest_all<rows, true>(args);
  else
    nearest_all<1, false>(args);
}

}  // namespace
