// The body of the SIMD variants: panel after panel, as memory lies, up to four columns at a time.
#pragma once

#include MINNOW_INT

#include "kernels/common/codes.h"
#include "kernels/gemv_panel/gemv_panel.h"

namespace {

static constexpr int kParts = 4 / kUnits;  // vectors that hold one step of a panel
static constexpr int kMaxColumns = 4;

// Sums that products go to in turns, so that one does not wait for the one before.
template <int kColumns>
static constexpr int chains() {
  const int many = 4 / kParts / kColumns;
  return kDotsAreInt32 && many > 1 ? many : 1;
}

// Blocks of 32 channels that int16 sums can take.
template <int kBits>
static constexpr size_t blocks_before_sum() {
  return kBits == 4 ? 1 : kBits == 3 ? 2 : 4;
}

// acc[c] += codes * x over `blocks` blocks of one part of a panel: one group.
template <int kBits, int kColumns>
__attribute__((always_inline)) static inline void panel_group(const uint8_t* codes, size_t blocks, const int8_t* x,
                                                              size_t x_stride, VecI* acc) {
  constexpr int kVectors = kBits == 3 ? 2 : kBits;
  constexpr int kChains = chains<kColumns>();
  constexpr size_t kStride = 64 * kBits;
  Dots dots[kColumns][kChains];
  VecI total[kColumns];
  for (int c = 0; c < kColumns; ++c) {
    total[c] = vi_zero();
    for (int i = 0; i < kChains; ++i) dots[c][i] = dots_zero();
  }
  for (size_t b = 0; b < blocks; ++b) {
    const uint8_t* block = codes + b * kStride;
    VecB packed[kVectors], third = vb_set1(0);
    for (int i = 0; i < kVectors; ++i) packed[i] = vb_load(block + 64 * i);
    if (kBits == 3) third = vb_load(block + 128);
    unroll<0, 8>([&](auto step) __attribute__((always_inline)) {
      constexpr int kStep = decltype(step)::value;
      const VecB w = step_codes<kBits, kStep>(packed, third);
      for (int c = 0; c < kColumns; ++c) {
        const VecB quad = vb_quad(x + (size_t)c * x_stride + b * 32 + 4 * kStep);
        if constexpr (kBits == 8) {
          total[c] = vi_dot_wide(total[c], w, quad);
        } else {
          dots[c][kStep % kChains] = dot(dots[c][kStep % kChains], w, quad);
        }
      }
    });
    if (!kDotsAreInt32 && kBits != 8 && (b + 1) % blocks_before_sum<kBits>() == 0) {
      for (int c = 0; c < kColumns; ++c) {
        total[c] = vi_add(total[c], dots_sum(dots[c][0]));
        dots[c][0] = dots_zero();
      }
    }
  }
  for (int c = 0; c < kColumns; ++c) {
    if (kBits != 8) {
      for (int i = 0; i < kChains; ++i) total[c] = vi_add(total[c], dots_sum(dots[c][i]));
    }
    acc[c] = total[c];
  }
}

template <int kBits, int kColumns>
static inline void panel_columns(const GemvPanelArgs* args, size_t first) {
  const QuantisedWeights& w = args->w;
  const size_t blocks = args->k / kPanelBlock, group_blocks = w.group / kPanelBlock;
  const int8_t* x = args->x.codes + first * args->x.stride;
  const float* xs = args->x.scales + first * args->x.group_stride;
  const float* zs = args->x.zs + first * args->x.group_stride;
  const size_t last = (args->n1 + kPanelOutputs - 1) / kPanelOutputs;
  const uint8_t* fetch_end = w.codes + last * w.stride;
  const float implied = kBits == 8 ? 128.0f - kW8Bias : kMidpointZero;
  for (size_t p = args->n0 / kPanelOutputs; p < last; ++p) {
    const uint8_t* codes = w.codes + p * w.stride;
    const uint16_t* scales = (const uint16_t*)((const char*)w.scales + p * w.scale_stride);
    const uint8_t* zeros = w.zeros != nullptr ? w.zeros + p * w.zero_stride : nullptr;
    VecF total[kColumns][kParts];
    for (int c = 0; c < kColumns; ++c) {
      for (int part = 0; part < kParts; ++part) total[c][part] = v_zero();
    }
    for (size_t b = 0, g = 0; b < blocks; b += group_blocks, ++g) {
      const size_t count = blocks - b < group_blocks ? blocks - b : group_blocks;
      // Not beyond this call's panels: another thread reads those.
      const uint8_t* ahead = codes + b * 64 * kBits + kPrefetchBytes;
      if (ahead < fetch_end) {
        for (size_t at = 0; at < count * 64 * kBits; at += 64) v_prefetch(ahead + at);
      }
      for (int part = 0; part < kParts; ++part) {
        VecI acc[kColumns];
        panel_group<kBits, kColumns>(codes + b * 64 * kBits + 16 * kUnits * part, count, x + b * 32, args->x.stride,
                                     acc);
        const VecF s = v_load_f16(scales + g * kPanelOutputs + part * kLanes);
        const VecF z = zeros != nullptr ? v_load_zeros(zeros + g * 8, part) : v_set1(implied);
        for (int c = 0; c < kColumns; ++c) {
          const size_t at = (size_t)c * args->x.group_stride + g;
          const VecF offset = v_mul(z, v_set1(zs[at] * zero_step(kBits)));
          const VecF sum = v_sub(v_mul(vi_to_float(acc[c]), v_set1(xs[at])), offset);
          total[c][part] = v_fma(s, sum, total[c][part]);
        }
      }
    }
    const size_t n = p * kPanelOutputs, count = args->n1 - n < kPanelOutputs ? args->n1 - n : kPanelOutputs;
    for (int c = 0; c < kColumns; ++c) {
      float* y = args->y + (first + (size_t)c) * args->y_stride + n;
      for (int part = 0; part < kParts; ++part) {
        const size_t done = (size_t)part * kLanes;
        if (done >= count) break;
        VecF sum = total[c][part];
        if (count - done >= kLanes) {
          if (args->accumulate) sum = v_add(sum, v_load(y + done));
          else if (args->bias != nullptr) sum = v_add(sum, v_load(args->bias + n + done));
          v_store(y + done, sum);
        } else {
          const size_t left = count - done;
          if (args->accumulate) sum = v_add(sum, v_load_part(y + done, left, 0.0f));
          else if (args->bias != nullptr) sum = v_add(sum, v_load_part(args->bias + n + done, left, 0.0f));
          v_store_part(y + done, sum, left);
        }
      }
    }
  }
}

template <int kBits>
static inline void panel_width(const GemvPanelArgs* args) {
  size_t m = 0;
  for (; m + 4 <= args->m; m += 4) panel_columns<kBits, 4>(args, m);
  switch (args->m - m) {
    case 3:
      return panel_columns<kBits, 3>(args, m);
    case 2:
      return panel_columns<kBits, 2>(args, m);
    case 1:
      return panel_columns<kBits, 1>(args, m);
    default:
      return;
  }
}

static inline void gemv_panel_body(const GemvPanelArgs* args) {
  switch (args->w.bits) {
    case 2:
      return panel_width<2>(args);
    case 3:
      return panel_width<3>(args);
    case 4:
      return panel_width<4>(args);
    default:
      return panel_width<8>(args);
  }
}

}  // namespace
