// The body of the SIMD variants: four rows at a time, so that activations are brought into the units' order once for
// four. A step is kUnits units; lanes 4 u to 4 u + 3 of its sum belong to unit u, so one multiplication by a vector of
// factors serves steps that hold several groups.
#pragma once

#include MINNOW_INT

#include "kernels/common/codes.h"
#include "kernels/gemv_row/gemv_row.h"

namespace {

static constexpr int kRows = 4;
static constexpr size_t kFactorGroups = 64;  // factors are made for this many groups at a time

struct RowBlock {
  const uint8_t* codes[kRows];  // the last may repeat
  const uint8_t* third[kRows];  // 3-bit codes only
  const uint16_t* scales[kRows];
  const uint8_t* zeros[kRows];  // or nullptr
  const uint8_t* fetch_end;
};

// factors[r][i] = s * sx of group g0 + i, zeros behind the last; what the zero points take off is subtracted from total.
template <int kBits>
static inline void row_factors(const GemvRowArgs* args, const RowBlock* block, size_t g0, size_t groups,
                               float (*factors)[kFactorGroups + 8], VecF* total) {
  const size_t count = groups - g0 < kFactorGroups ? groups - g0 : kFactorGroups;
  const float implied = kBits == 8 ? 128.0f - kW8Bias : kMidpointZero;
  for (int r = 0; r < kRows; ++r) {
    for (size_t i = 0; i < count; i += kLanes) {
      const VecF s = v_first(v_load_f16(block->scales[r] + g0 + i), count - i);
      const uint8_t* zeros = block->zeros[r];
      const size_t g = g0 + i;
      const VecF z = zeros != nullptr ? v_load_zeros(zeros + g / 16 * 8, (int)(g % 16 / kLanes)) : v_set1(implied);
      const VecF zx = v_mul(v_load(args->x.zs + g), v_set1(zero_step(kBits)));
      v_store(&factors[r][i], v_mul(s, v_load(args->x.scales + g)));
      total[r] = v_fnma(v_mul(s, z), zx, total[r]);
    }
    for (size_t i = count; i < count + 8; ++i) factors[r][i] = 0.0f;
  }
}

// One step of four rows: total[r] += factors * codes * x. kGroup 32 with units of 64 has two groups in a unit.
template <int kBits, int kGroup>
__attribute__((always_inline)) static inline void row_step(const RowBlock* block, size_t unit, const int8_t* x,
                                                           const float (*factors)[kFactorGroups + 8], size_t g,
                                                           VecF* total) {
  constexpr int kPlanes = planes_of<kBits>();
  constexpr int kElements = 16 * kPlanes;
  constexpr bool kTwo = kGroup < kElements;
  constexpr int kUnitsPerGroup = kTwo ? 1 : kGroup / kElements;
  constexpr int kFactorStep = kTwo ? 2 : 1;
  VecB planes[kPlanes];
  vb_planes<kPlanes>(x + unit * kElements, planes);
  for (int r = 0; r < kRows; ++r) {
    const VecB packed = vb_load(block->codes[r] + 16 * unit);
    VecB third = packed;
    if constexpr (kBits == 3) third = vb_third_bits(block->third[r], unit);
    VecI first = vi_zero(), second = vi_zero();
    if constexpr (kBits == 8) {
      first = vi_dot_wide(first, without_bias(packed), planes[0]);
    } else {
      Dots dots = dots_zero(), more = dots_zero();
      unroll<0, kPlanes>([&](auto plane) __attribute__((always_inline)) {
        constexpr int kPlane = decltype(plane)::value;
        Dots* to = kTwo && kPlane >= kPlanes / 2 ? &more : &dots;
        *to = dot(*to, plane_codes<kBits, kPlane>(packed, third), planes[kPlane]);
      });
      first = dots_sum(dots);
      if (kTwo) second = dots_sum(more);
    }
    total[r] = v_fma(vi_to_float(first), v_unit_factors<kUnitsPerGroup, kFactorStep>(factors[r] + g), total[r]);
    if (kTwo) total[r] = v_fma(vi_to_float(second), v_unit_factors<1, 2>(factors[r] + g + 1), total[r]);
  }
}

template <int kBits, int kGroup>
static inline void rows_of(const GemvRowArgs* args, const RowBlock* block, float* sums) {
  constexpr size_t kStepChannels = (size_t)kUnits * 16 * planes_of<kBits>();
  const size_t groups = (args->k + kGroup - 1) / kGroup;
  VecF total[kRows];
  for (int r = 0; r < kRows; ++r) total[r] = v_zero();
  float factors[kRows][kFactorGroups + 8];
  for (size_t g0 = 0; g0 < groups; g0 += kFactorGroups) {
    row_factors<kBits>(args, block, g0, groups, factors, total);
    const size_t first = g0 * kGroup, left = args->k - first;
    const size_t end = first + (left < kFactorGroups * kGroup ? left : kFactorGroups * kGroup);
    for (size_t k = first; k < end; k += kStepChannels) {
      const size_t unit = k / (16 * planes_of<kBits>());
      for (int r = 0; r < kRows; ++r) {
        const uint8_t* ahead = block->codes[r] + 16 * unit + kPrefetchBytes;
        if (ahead < block->fetch_end) v_prefetch(ahead);
      }
      row_step<kBits, kGroup>(block, unit, args->x.codes, factors, (k - first) / kGroup, total);
    }
  }
  v_hsum4(total, sums);
}

template <int kBits>
static inline void row_width(const GemvRowArgs* args) {
  const QuantisedWeights& w = args->w;
  for (size_t n = args->n0; n < args->n1; n += kRows) {
    const size_t count = args->n1 - n < kRows ? args->n1 - n : (size_t)kRows;
    RowBlock block;
    block.fetch_end = w.codes + args->n1 * w.stride;
    for (size_t r = 0; r < kRows; ++r) {
      const size_t row = n + (r < count ? r : 0);
      block.codes[r] = w.codes + row * w.stride;
      block.third[r] = block.codes[r] + 16 * ((args->k + 63) / 64);
      block.scales[r] = (const uint16_t*)((const char*)w.scales + row * w.scale_stride);
      block.zeros[r] = w.zeros != nullptr ? w.zeros + row * w.zero_stride : nullptr;
    }
    float sums[kRows];
    switch (w.group) {
      case 32:
        rows_of<kBits, 32>(args, &block, sums);
        break;
      case 64:
        rows_of<kBits, 64>(args, &block, sums);
        break;
      default:
        rows_of<kBits, 128>(args, &block, sums);
    }
    for (size_t r = 0; r < count; ++r) {
      const float before = args->accumulate ? args->y[n + r] : args->bias != nullptr ? args->bias[n + r] : 0.0f;
      args->y[n + r] = sums[r] + before;
    }
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
