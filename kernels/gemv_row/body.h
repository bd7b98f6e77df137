// The body of the SIMD variants: kRows rows side by side, so that their chains of additions overlap and
// activations are read once for all. Activations are brought into the units' order once a call. A step is
// kUnits units; lanes 4 u to 4 u + 3 of its sum belong to unit u, so one multiplication by a vector of
// factors serves steps that hold several groups.
#pragma once

#include MINNOW_INT

#include "kernels/common/codes.h"
#include "kernels/gemv_row/gemv_row.h"

namespace {

static constexpr int kRows = 4;                 // side by side; their lanes are summed together
static constexpr size_t kBlockChannels = 8192;  // whose activations are kept in order; rows are cut there

static constexpr size_t kRowFetch = 8192;  // bytes fetched ahead

struct Row {
  const uint8_t* codes;
  const uint8_t* third;  // 3-bit codes only
  const uint16_t* scales;
  const uint8_t* zeros;  // or nullptr
};

// Activations of one block of channels: plane j of step i at (i * kPlanes + j) * 16 * kUnits.
template <int kBits>
static inline void order_activations(const int8_t* x, size_t channels, int8_t* ordered) {
  constexpr int kPlanes = planes_of<kBits>();
  constexpr size_t kStep = kUnits * 16 * (size_t)kPlanes;
  for (size_t k = 0; k < channels; k += kStep) {
    VecB planes[kPlanes];
    vb_planes<kPlanes>(x + k, planes);
    for (int j = 0; j < kPlanes; ++j) vb_store(ordered + k + (size_t)j * 16 * kUnits, planes[j]);
  }
}

// One step of a row: total += factors * codes * x, of which `x` holds the planes. kGroup 32 with units of 64
// has two groups in a unit.
template <int kBits, int kGroup>
__attribute__((always_inline)) static inline VecF row_step(const Row& row, size_t unit, const VecB* x,
                                                           const float* factors, VecF total) {
  constexpr int kPlanes = planes_of<kBits>();
  constexpr int kElements = 16 * kPlanes;
  constexpr bool kTwo = kGroup < kElements;
  constexpr int kUnitsPerGroup = kTwo ? 1 : kGroup / kElements;
  constexpr int kFactorStep = kTwo ? 2 : 1;
  const VecB packed = vb_load(row.codes + 16 * unit);
  VecB third = packed;
  if constexpr (kBits == 3) third = vb_third_bits(row.third, unit);
  VecI first = vi_zero(), second = vi_zero();
  if constexpr (kBits == 8) {
    first = vi_dot_wide(first, without_bias(packed), x[0]);
  } else {
    Dots dots = dots_zero(), more = dots_zero();
    unroll<0, kPlanes>([&](auto plane) __attribute__((always_inline)) {
      constexpr int kPlane = decltype(plane)::value;
      Dots* to = kTwo && kPlane >= kPlanes / 2 ? &more : &dots;
      *to = dot(*to, plane_codes<kBits, kPlane>(packed, third), x[kPlane]);
    });
    first = dots_sum(dots);
    if (kTwo) second = dots_sum(more);
  }
  total = v_fma(vi_to_float(first), v_unit_factors<kUnitsPerGroup, kFactorStep>(factors), total);
  if (kTwo) total = v_fma(vi_to_float(second), v_unit_factors<1, 2>(factors + 1), total);
  return total;
}

// The lanes of the sums of kRows rows over channels [k0, k1); activations are read once for all of them.
template <int kBits, int kGroup, bool kListed>
static inline void row_sums(const GemvRowArgs* args, const Row* rows, size_t k0, size_t k1,
                            const int8_t* ordered, const uint8_t* const* ahead, VecF* totals) {
  constexpr int kPlanes = planes_of<kBits>();
  constexpr size_t kStep = (size_t)kUnits * 16 * kPlanes;
  // Factors are made for the groups of some steps at a time, kept in a vector's worth of floats and a few
  // zeros.
  constexpr size_t kRun = 16 * kGroup < kStep ? kStep : 16 * kGroup;
  constexpr size_t kRunGroups = kRun / kGroup;
  const VecF implied = v_set1(kBits == 8 ? 128.0f - kW8Bias : kMidpointZero);
  // The bytes that rows take up for a step, scales and zeros shared out. Fetched ahead in the order memory
  // lies in, so that the hardware sees streams and runs ahead of them, two of them because it stops at the
  // end of a page; listed rows side by side, as they are read.
  const size_t taken = (kListed ? 1 : kRows) * args->w.stride * kStep / args->k;
  const uint8_t* stream = ahead[0];
  size_t read = 0, fetched = 0;  // of a listed row
  VecF total[kRows];
  for (int r = 0; r < kRows; ++r) total[r] = v_zero();
  for (size_t run = k0; run < k1; run += kRun) {
    float factors[kRows][kRunGroups + 16];
    const size_t g0 = run / kGroup, left = (k1 - run + kGroup - 1) / kGroup;
    for (size_t i = 0; i < kRunGroups; i += kLanes) {
      // Beyond the last group nothing may be read of the activations' factors but their padding.
      if (i >= left) {
        for (int r = 0; r < kRows; ++r) v_store(factors[r] + i, v_zero());
        continue;
      }
      const size_t g = g0 + i;
      const VecF zx = v_mul(v_load(args->x.zs + g), v_set1(zero_step(kBits)));
      const VecF sx = v_load(args->x.scales + g);
      for (int r = 0; r < kRows; ++r) {
        const Row& row = rows[r];
        const VecF s = v_first(v_load_f16(row.scales + g), left - i);
        const VecF z =
            row.zeros != nullptr ? v_load_zeros(row.zeros + g / 16 * 8, (int)(g % 16 / kLanes)) : implied;
        v_store(factors[r] + i, v_mul(s, sx));
        total[r] = v_fnma(v_mul(s, z), zx, total[r]);
      }
    }
    const size_t end = k1 - run < kRun ? k1 : run + kRun;
    for (size_t k = run; k < end; k += kStep) {
      const size_t unit = k / (16 * kPlanes), at = (k - run) / kGroup;
      VecB x[kPlanes];
      for (int j = 0; j < kPlanes; ++j) x[j] = vb_load(ordered + (k - k0) + (size_t)j * 16 * kUnits);
      if (!kListed) {
        for (size_t byte = 0; byte < taken / 2; byte += 64) {
          v_prefetch(stream + byte);
          v_prefetch(stream + kRows / 2 * args->w.stride + byte);
        }
        stream += taken / 2;
      } else {
        if (fetched <= read) {
          for (int r = 0; r < kRows; ++r) {
            v_prefetch(ahead[r] + fetched);
            v_prefetch(ahead[r] + fetched + 64);
          }
          fetched += 128;
        }
        read += taken;
      }
      for (int r = 0; r < kRows; ++r) {
        total[r] = row_step<kBits, kGroup>(rows[r], unit, x, factors[r] + at, total[r]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) totals[r] = total[r];
}

// Scales and zeros of a listed row for channels [k0, k1), which lie in places of their own: a miss for every
// set of rows, where the codes have none. Inlined by force: GCC takes a function that only fetches for one
// without effects, and drops its calls.
__attribute__((always_inline)) static inline void fetch_factors(const QuantisedWeights& w, size_t row,
                                                                size_t k0, size_t k1) {
  const char* scales = (const char*)w.scales + row * w.scale_stride;
  for (size_t g = k0 / w.group; g * w.group < k1; g += 32) v_prefetch(scales + 2 * g);
  if (w.zeros != nullptr) v_prefetch(w.zeros + row * w.zero_stride + k0 / w.group / 2);
}

template <int kBits, int kGroup, bool kListed>
static inline void row_group(const GemvRowArgs* args) {
  const QuantisedWeights& w = args->w;
  // Listed rows are fetched as far ahead as others, sets of them at a time.
  const size_t set = kRows * w.stride;
  const size_t sets_ahead = (kRowFetch + set - 1) / set;
  alignas(64) int8_t ordered[kBlockChannels + 64];
  for (size_t k0 = 0; k0 < args->k; k0 += kBlockChannels) {
    const size_t k1 = args->k - k0 < kBlockChannels ? args->k : k0 + kBlockChannels;
    order_activations<kBits>(args->x.codes + k0, k1 - k0, ordered);
    const size_t from = w.stride * k0 / args->k;
    if (kListed) {  // nobody has fetched the first sets
      const size_t count = sets_ahead * kRows,
                   last = args->n1 - args->n0 < count ? args->n1 : args->n0 + count;
      for (size_t n = args->n0; n < last; ++n) {
        const uint8_t* row = w.codes + args->rows[n] * w.stride + from;
        fetch_factors(w, args->rows[n], k0, k1);
        for (size_t at = 0; at < w.stride * (k1 - k0) / args->k; at += 64) v_prefetch(row + at);
      }
    }
    for (size_t n = args->n0; n < args->n1; n += kRows) {
      const size_t count = args->n1 - n < kRows ? args->n1 - n : (size_t)kRows;
      Row rows[kRows];
      const uint8_t* ahead[kRows];
      for (size_t r = 0; r < kRows; ++r) {
        const size_t i = n + (r < count ? r : count - 1);
        const size_t at = kListed ? args->rows[i] : i;
        rows[r].codes = w.codes + at * w.stride;
        rows[r].third = rows[r].codes + 16 * ((args->k + 63) / 64);
        rows[r].scales = (const uint16_t*)((const char*)w.scales + at * w.scale_stride);
        rows[r].zeros = w.zeros != nullptr ? w.zeros + at * w.zero_stride : nullptr;
        if (!kListed) continue;
        const size_t later = n + sets_ahead * kRows + r;
        const size_t next = args->rows[later < args->n1 ? later : args->n1 - 1];
        ahead[r] = w.codes + next * w.stride + from;
        fetch_factors(w, next, k0, k1);
      }
      if (!kListed) ahead[0] = rows[0].codes + kRowFetch;
      VecF totals[kRows];
      row_sums<kBits, kGroup, kListed>(args, rows, k0, k1, ordered, ahead, totals);
      float sums[kRows];
      v_hsum4(totals, sums);
      for (size_t r = 0; r < count; ++r) {
        const size_t at = kListed ? args->rows[n + r] : n + r;
        const bool add = args->accumulate || k0 > 0;
        const float before = add ? args->y[at] : args->bias != nullptr ? args->bias[at] : 0.0f;
        const float sum = sums[r] + before;
        args->y[at] = args->factors != nullptr && k1 == args->k ? sum * args->factors[at] : sum;
      }
    }
  }
}

template <int kBits, int kGroup>
static inline void row_either(const GemvRowArgs* args) {
  if (args->rows != nullptr)
    row_group<kBits, kGroup, true>(args);
  else
    row_group<kBits, kGroup, false>(args);
}

template <int kBits>
static inline void row_width(const GemvRowArgs* args) {
  switch (args->w.group) {
    case 32:
      return row_either<kBits, 32>(args);
    case 64:
      return row_either<kBits, 64>(args);
    default:
      return row_either<kBits, 128>(args);
  }
}

static inline void gemv_row_body(const GemvRowArgs* args) {
  switch (args->w.bits) {
    case 2:
      return row_width<2>(args);
    case 3:
      return row_width<3>(args);
    case 4:
      return row_width<4>(args);
    default:
      return row_width<8>(args);
  }
}

}  // namespace
