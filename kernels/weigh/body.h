// The body of the SIMD variants, for up to kWeighHeads heads at a time: exponents and their largest, weights,
// a list of the groups of rows that weigh anything, then their products. These take stretches of the list
// whose rows the first-level cache holds: each meets all heads and columns before the next, which is
// fetched meanwhile. A tile is up to kTileHeads heads by kColumns vectors of columns, its sums in registers
// over a stretch and in `out` between two, so that each is one chain over the rows in their order: groups
// left out, stretches and the other heads change nothing in it.
#pragma once

#include MINNOW_VEC

#include <math.h>

#include "kernels/common/unroll.h"
#include "kernels/weigh/weigh.h"

namespace {

// GCC 12 spills sums where all of this is one function.
#define MINNOW_APART __attribute__((noinline))

static constexpr size_t kStretchBytes = 16384;
static constexpr int kTileHeads = 4;
static constexpr int kColumns = kTileAccumulators / kTileHeads;

// Groups of a stretch.
static inline size_t weigh_step(size_t dim) {
  const size_t fit = kStretchBytes / (dim * sizeof(uint16_t) * kWeighGroup);
  return fit > 0 ? fit : 1;
}

// A call's heads [g, g + heads), and the groups that weigh anything for them.
struct WeighJob {
  const WeighArgs* args;
  size_t g, heads;
  float* weights;  // rows `stride` elements apart
  size_t stride;   // not a power of two: weights of a row of v do not share a set of the cache
  uint32_t* groups;
  size_t count;
  size_t fetched, fetch_end;  // rows of groups in the list's order: asked for, and to be so by now
  size_t pace;                // a power of two less 1: one row is asked for in so many and one that are read
};

// x' to weights, and its largest.
static MINNOW_APART float weigh_exponents(const WeighArgs* args, size_t g, float* to) {
  const float* x = args->x + g * args->x_stride;
  const VecF unit = v_set1(args->unit);
  VecF top = v_set1(-INFINITY), top2 = top;
  size_t m = 0;
  for (; m + 2 * kLanes <= args->n; m += 2 * kLanes) {
    const VecF a = v_fma(unit, v_load(x + m), v_load(args->bias + m));
    const VecF b = v_fma(unit, v_load(x + m + kLanes), v_load(args->bias + m + kLanes));
    v_store(to + m, a);
    v_store(to + m + kLanes, b);
    top = v_max(a, top);
    top2 = v_max(b, top2);
  }
  for (; m < args->n; m += kLanes) {
    const VecF a = v_fma(unit, v_load(x + m), v_load(args->bias + m));
    v_store(to + m, a);
    top = v_max(a, top);
  }
  return v_hmax(v_max(top, top2));
}

// x' becomes exp2(x' - top); returns their sum.
static MINNOW_APART float weigh_weights(float* x, size_t n, float top) {
  const VecF shift = v_set1(top == -INFINITY ? 0.0f : top), least = v_set1(-125.0f);
  VecF total = v_zero();
  for (size_t m = 0; m < n; m += kLanes) {
    const VecF e = v_sub(v_load(x + m), shift);
    const VecF w = v_if_less(e, least, v_zero(), v_exp2_negative(e));
    v_store(x + m, w);
    total = v_add(total, w);
  }
  return v_hsum(total);
}

// Weights of scores that count the same row, into those of the first of them.
static MINNOW_APART void weigh_fold(const WeighJob* job) {
  const size_t rows = job->args->rows;
  for (size_t r = 0; r < job->heads; ++r) {
    float* w = job->weights + r * job->stride;
    for (size_t m = rows; m < job->args->n; m += rows) {
      for (size_t i = 0; i < rows; i += kLanes) v_store(w + i, v_add(v_load(w + i), v_load(w + m + i)));
    }
  }
}

static MINNOW_APART void weigh_list(WeighJob* job) {
  job->count = 0;
  for (size_t m = 0; m < job->args->rows; m += kWeighGroup) {
    VecF most = v_zero(), unused;
    for (size_t r = 0; r < job->heads; ++r) {
      for (size_t i = 0; i < kWeighGroup; i += kLanes)
        most = v_max(most, v_load(job->weights + r * job->stride + m + i));
    }
    job->groups[job->count] = (uint32_t)(m / kWeighGroup);
    job->count += v_above(most, v_zero(), &unused) != 0;
  }
}

// The rows that are asked for while a group is read: as many as the pace says, side by side.
static inline const char* weigh_ahead(WeighJob* job) {
  if (job->fetched >= job->fetch_end) return nullptr;
  const size_t group = job->groups[job->fetched / kWeighGroup];
  const size_t m = group * kWeighGroup + job->fetched % kWeighGroup;
  job->fetched += kWeighGroup / (job->pace + 1);
  return (const char*)job->args->v + m * job->args->row_stride;
}

// Adds groups [from, end) of the list to R heads' sums, kVecs vectors of columns from `at` on.
template <int R, int kVecs>
static inline void weigh_tile(WeighJob* job, size_t r0, size_t at, size_t from, size_t end) {
  const WeighArgs* args = job->args;
  const size_t row_stride = args->row_stride, stride = job->stride, bytes = args->dim * sizeof(uint16_t);
  const size_t pace = job->pace;
  const char* v = (const char*)(args->v + at);
  float* out = args->out + (job->g + r0) * args->out_stride + at;
  VecF acc[R][kVecs];
  unroll_block<R, kVecs>([&](auto r, auto i) __attribute__((always_inline)) {
    acc[r][i] = from == 0 ? v_zero() : v_load(out + (size_t)r * args->out_stride + i * kLanes);
  });
  for (size_t place = from; place < end; ++place) {
    const size_t m = (size_t)job->groups[place] * kWeighGroup;
    const char* row = v + m * row_stride;
    const float* w = job->weights + r0 * stride + m;
    const char* ahead = weigh_ahead(job);
    for (size_t j = 0; j < kWeighGroup; ++j) {
      if (ahead != nullptr && (j & pace) == 0) {
        for (size_t b = 0; b < bytes; b += 64) v_prefetch(ahead + b);
        ahead += row_stride;
      }
      VecF values[kVecs];
      unroll<0, kVecs>([&](auto i) __attribute__((always_inline)) {
        values[i] = v_load_f16((const uint16_t*)row + i * kLanes);
      });
      unroll<0, R>([&](auto r) __attribute__((always_inline)) {
        const VecF weight = v_set1(w[(size_t)r * stride + j]);
        unroll<0, kVecs>([&](auto i) __attribute__((always_inline)) {
          acc[r][i] = v_fma(values[i], weight, acc[r][i]);
        });
      });
      row += row_stride;
    }
  }
  unroll_block<R, kVecs>([&](auto r, auto i) __attribute__((always_inline)) {
    v_store(out + (size_t)r * args->out_stride + i * kLanes, acc[r][i]);
  });
}

template <int R>
static MINNOW_APART void weigh_stretch(WeighJob* job, size_t r0, size_t from, size_t end) {
  constexpr size_t kStep = kColumns * kLanes;
  size_t at = 0;
  for (; at + kStep <= job->args->dim; at += kStep) weigh_tile<R, kColumns>(job, r0, at, from, end);
  if constexpr (kStep > 32) {
    if (at < job->args->dim) weigh_tile<R, 32 / kLanes>(job, r0, at, from, end);
  }
}

// R or fewer heads.
template <int R>
static inline void weigh_some(WeighJob* job, size_t r0, size_t count, size_t from, size_t end) {
  if constexpr (R > 1) {
    if (count < R) return weigh_some<R - 1>(job, r0, count, from, end);
  }
  weigh_stretch<R>(job, r0, from, end);
}

static inline void weigh_values(WeighJob* job) {
  const size_t dim = job->args->dim, step = weigh_step(dim);
  const size_t share = job->heads <= kTileHeads ? job->heads : (job->heads + 1) / 2;
  const size_t passes = (dim + kColumns * kLanes - 1) / (kColumns * kLanes) * (job->heads > share ? 2 : 1);
  job->pace = passes >= 8 ? 7 : passes >= 4 ? 3 : passes >= 2 ? 1 : 0;
  for (size_t from = 0; from < job->count; from += step) {
    const size_t end = job->count - from < step ? job->count : from + step;
    job->fetched = end * kWeighGroup;
    job->fetch_end = (job->count - end < step ? job->count : end + step) * kWeighGroup;
    for (size_t r = 0; r < job->heads; r += share) {
      const size_t left = job->heads - r;
      weigh_some<kTileHeads>(job, r, left < share ? left : share, from, end);
    }
  }
}

static inline void weigh_body(const WeighArgs* args) {
  WeighJob job;
  job.args = args;
  job.stride = args->n + 16;
  job.weights = (float*)args->scratch;
  job.groups = (uint32_t*)(job.weights + kWeighHeads * job.stride);
  for (job.g = 0; job.g < args->heads; job.g += kWeighHeads) {
    const size_t left = args->heads - job.g;
    job.heads = left < kWeighHeads ? left : (size_t)kWeighHeads;
    float top[kWeighHeads], total[kWeighHeads];
    for (size_t r = 0; r < job.heads; ++r)
      top[r] = weigh_exponents(args, job.g + r, job.weights + r * job.stride);
    for (size_t r = 0; r < job.heads; ++r)
      total[r] = weigh_weights(job.weights + r * job.stride, args->n, top[r]);
    if (args->dim != 0) {
      weigh_fold(&job);
      weigh_list(&job);
      weigh_values(&job);
    }
    for (size_t r = 0; r < job.heads; ++r) {
      float* out = args->out + (job.g + r) * args->out_stride;
      const VecF inverse = v_set1(1.0f / total[r]);
      for (size_t d = 0; d < args->dim; d += kLanes)
        v_store(out + d, total[r] == 0.0f ? v_zero() : v_mul(v_load(out + d), inverse));
      if (args->max != nullptr) args->max[job.g + r] = top[r];
      if (args->sum != nullptr) args->sum[job.g + r] = total[r];
    }
  }
}

}  // namespace
