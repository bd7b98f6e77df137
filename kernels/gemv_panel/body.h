// The body of the SIMD variants: panel after panel, as memory lies, up to four columns at a time.
#pragma once

#include MINNOW_INT

#include "kernels/common/codes.h"
#include "kernels/gemv_panel/gemv_panel.h"

namespace {

static constexpr int kParts = 4 / kUnits;  // vectors that hold one step of a panel

// One column reads panel after panel: one stream, fetched ahead. Only 4 and 8 bits on wide vectors, where
// little but memory is waited for, do better with four panels side by side; 8 bits leave the fetching to the
// hardware. Several columns have arithmetic to hide memory behind.
template <int kBits, int kColumns>
static constexpr int panels_side_by_side() {
  return kColumns == 1 && kBits >= 4 && kUnits == 4 ? 4 : kColumns == 2 && kUnits == 4 ? 2 : 1;
}
static constexpr size_t kAhead = 8192, kAheadOfEach = 1024;  // bytes

// A lone panel's steps go to several sums, so that products do not wait for each other, where a product is
// one instruction.
template <int kBits, int kPanels, int kColumns>
static constexpr int sums_of_a_panel() {
  return kDotsAreInt32 && kBits != 8 && kPanels * kColumns == 1 ? 8 : 1;
}

// Blocks of 32 channels that int16 sums can take.
template <int kBits>
static constexpr size_t blocks_before_sum() {
  return kBits == 4 ? 1 : kBits == 3 ? 2 : 4;
}

// acc[p][c] = codes * x over `blocks` blocks of one part of kPanels panels: one group.
template <int kBits, int kPanels, int kColumns>
__attribute__((always_inline)) static inline void panel_group(const uint8_t* codes, size_t stride,
                                                              size_t blocks, const int8_t* x, size_t x_stride,
                                                              bool fetch, VecI (*acc)[kColumns]) {
  constexpr int kVectors = kBits == 3 ? 2 : kBits;
  constexpr int kSums = sums_of_a_panel<kBits, kPanels, kColumns>();
  Dots dots[kPanels][kColumns][kSums];
  for (int p = 0; p < kPanels; ++p) {
    for (int c = 0; c < kColumns; ++c) {
      acc[p][c] = vi_zero();
      for (int s = 0; s < kSums; ++s) dots[p][c][s] = dots_zero();
    }
  }
  for (size_t b = 0; b < blocks; ++b) {
    if (fetch) {
      for (int line = 0; line < kBits; ++line) v_prefetch(codes + (b * kBits + (size_t)line) * 64 + kAhead);
    }
    VecB packed[kPanels][kVectors], third[kPanels];
    for (int p = 0; p < kPanels; ++p) {
      const uint8_t* block = codes + (size_t)p * stride + b * 64 * kBits;
      if (kPanels == 4 && kColumns == 1 && kBits == 4) {
        for (int line = 0; line < kBits; ++line) v_prefetch(block + 64 * line + kAheadOfEach);
      }
      for (int i = 0; i < kVectors; ++i) packed[p][i] = vb_load(block + 64 * i);
      third[p] = kBits == 3 ? vb_load(block + 128) : packed[p][0];
    }
    unroll<0, 8>([&](auto step) __attribute__((always_inline)) {
      constexpr int kStep = decltype(step)::value;
      for (int c = 0; c < kColumns; ++c) {
        const VecB quad = vb_quad(x + (size_t)c * x_stride + b * 32 + 4 * kStep);
        for (int p = 0; p < kPanels; ++p) {
          const VecB w = step_codes<kBits, kStep>(packed[p], third[p]);
          if constexpr (kBits == 8)
            acc[p][c] = vi_dot_wide(acc[p][c], w, quad);
          else
            dots[p][c][kStep % kSums] = dot(dots[p][c][kStep % kSums], w, quad);
        }
      }
    });
    if (!kDotsAreInt32 && kBits != 8 && (b + 1) % blocks_before_sum<kBits>() == 0) {
      for (int p = 0; p < kPanels; ++p) {
        for (int c = 0; c < kColumns; ++c) {
          acc[p][c] = vi_add(acc[p][c], dots_sum(dots[p][c][0]));
          dots[p][c][0] = dots_zero();
        }
      }
    }
  }
  if (kBits == 8) return;
  for (int p = 0; p < kPanels; ++p) {
    for (int c = 0; c < kColumns; ++c) {
      for (int s = 0; s < kSums; ++s) acc[p][c] = vi_add(acc[p][c], dots_sum(dots[p][c][s]));
    }
  }
}

// What y gets: whole vectors, or the first of them.
static inline void panel_store(const GemvPanelArgs* args, size_t n, size_t m, const VecF* total) {
  const size_t count = args->n1 - n < kPanelOutputs ? args->n1 - n : kPanelOutputs;
  float* y = args->y + m * args->y_stride + n;
  for (int part = 0; part < kParts; ++part) {
    const size_t done = (size_t)part * kLanes;
    if (done >= count) return;
    VecF sum = total[part];
    if (count - done >= kLanes) {
      if (args->accumulate)
        sum = v_add(sum, v_load(y + done));
      else if (args->bias != nullptr)
        sum = v_add(sum, v_load(args->bias + n + done));
      v_store(y + done, sum);
    } else {
      const size_t left = count - done;
      if (args->accumulate)
        sum = v_add(sum, v_load_part(y + done, left, 0.0f));
      else if (args->bias != nullptr)
        sum = v_add(sum, v_load_part(args->bias + n + done, left, 0.0f));
      v_store_part(y + done, sum, left);
    }
  }
}

// kPanels panels from panel p on, kColumns columns from m on.
template <int kBits, int kPanels, int kColumns>
static inline void panel_tile(const GemvPanelArgs* args, size_t p, size_t m) {
  const QuantisedWeights& w = args->w;
  const size_t blocks = args->k / kPanelBlock, group_blocks = w.group / kPanelBlock;
  const int8_t* x = args->x.codes + m * args->x.stride;
  const float* xs = args->x.scales + m * args->x.group_stride;
  const float* zs = args->x.zs + m * args->x.group_stride;
  const uint8_t* codes = w.codes + p * w.stride;
  const char* scales = (const char*)w.scales + p * w.scale_stride;
  const uint8_t* zeros = w.zeros != nullptr ? w.zeros + p * w.zero_stride : nullptr;
  const VecF implied = v_set1(kBits == 8 ? 128.0f - kW8Bias : kMidpointZero);
  VecF total[kPanels][kColumns][kParts];
  for (int i = 0; i < kPanels; ++i) {
    for (int c = 0; c < kColumns; ++c) {
      for (int part = 0; part < kParts; ++part) total[i][c][part] = v_zero();
    }
  }
  for (size_t b = 0, g = 0; b < blocks; b += group_blocks, ++g) {
    const size_t count = blocks - b < group_blocks ? blocks - b : group_blocks;
    for (int part = 0; part < kParts; ++part) {
      VecI acc[kPanels][kColumns];
      panel_group<kBits, kPanels, kColumns>(codes + b * 64 * kBits + 16 * kUnits * part, w.stride, count,
                                            x + b * 32, args->x.stride, kPanels * kColumns == 1 && part == 0,
                                            acc);
      for (int i = 0; i < kPanels; ++i) {
        const auto* s_at =
            (const uint16_t*)(scales + (size_t)i * w.scale_stride) + g * kPanelOutputs + part * kLanes;
        const VecF s = v_load_f16(s_at);
        const VecF z =
            zeros != nullptr ? v_load_zeros(zeros + (size_t)i * w.zero_stride + g * 8, part) : implied;
        for (int c = 0; c < kColumns; ++c) {
          const size_t at = (size_t)c * args->x.group_stride + g;
          const VecF offset = v_mul(z, v_set1(zs[at] * zero_step(kBits)));
          const VecF sum = v_sub(v_mul(vi_to_float(acc[i][c]), v_set1(xs[at])), offset);
          total[i][c][part] = v_fma(s, sum, total[i][c][part]);
        }
      }
    }
  }
  for (int i = 0; i < kPanels; ++i) {
    for (int c = 0; c < kColumns; ++c)
      panel_store(args, (p + (size_t)i) * kPanelOutputs, m + (size_t)c, total[i][c]);
  }
}

template <int kBits, int kColumns>
static inline void panel_columns(const GemvPanelArgs* args, size_t m) {
  const size_t last = (args->n1 + kPanelOutputs - 1) / kPanelOutputs;
  constexpr int kPanels = panels_side_by_side<kBits, kColumns>();
  size_t p = args->n0 / kPanelOutputs;
  for (; p + kPanels <= last; p += kPanels) panel_tile<kBits, kPanels, kColumns>(args, p, m);
  for (; p < last; ++p) panel_tile<kBits, 1, kColumns>(args, p, m);
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
