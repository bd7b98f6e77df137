// The body of the SIMD variants: one function a layout.
#pragma once

#include MINNOW_INT

#include "kernels/common/codes.h"
#include "kernels/common/float_bits.h"
#include "kernels/expand/expand.h"

namespace {

// scales and zeros of outputs n0 .. n0 + 15 in panel and channel layout: 16 in a row of memory.
static inline void expand_factors16(const uint16_t* scales, const uint8_t* zeros, size_t valid, int bits,
                                    float* s_out, float* z_out) {
  const VecF implied = v_set1(bits == 8 ? 128.0f - kW8Bias : kMidpointZero);
  for (int part = 0; part * kLanes < 16; ++part) {
    const size_t at = (size_t)part * kLanes;
    const size_t left = valid > at ? valid - at : 0;
    const VecF s = v_first(v_load_f16(scales + at), left);
    const VecF z = zeros != nullptr ? v_load_zeros(zeros, part) : implied;
    v_store(s_out + at, s);
    v_store(z_out + at, v_mul(s, v_mul(z, v_set1(zero_step(bits)))));
  }
}

template <int kBits>
static inline void expand_panel(const ExpandArgs* args) {
  constexpr int kVectors = kBits == 3 ? 2 : kBits;
  const QuantisedWeights& w = args->w;
  const size_t panels = args->rows / kPanelOutputs, steps = (args->k1 - args->k0) / 4;
  const size_t real = (args->n + kPanelOutputs - 1) / kPanelOutputs;
  for (size_t i = 0; i < panels; ++i) {
    const size_t p = args->n0 / kPanelOutputs + i;
    if (p >= real) break;
    const uint8_t* codes = w.codes + p * w.stride;
    for (size_t k = args->k0; k < args->k1; k += kPanelBlock) {
      const uint8_t* block = codes + k / kPanelBlock * 64 * kBits;
      uint8_t* out = args->codes + (i * steps + (k - args->k0) / 4) * 64;
      for (int at = 0; at < 64; at += 16 * kUnits) {
        VecB packed[kVectors], third = vb_set1(0);
        for (int v = 0; v < kVectors; ++v) packed[v] = vb_load(block + 64 * v + at);
        if (kBits == 3) third = vb_load(block + 128 + at);
        unroll<0, 8>([&](auto step) __attribute__((always_inline)) {
          constexpr int kStep = decltype(step)::value;
          vb_store(out + 64 * kStep + at, step_codes<kBits, kStep>(packed, third));
        });
      }
    }
  }
  for (size_t k = args->k0, g = 0; k < args->k1; k += w.group, ++g) {
    for (size_t i = 0; i < panels; ++i) {
      const size_t p = args->n0 / kPanelOutputs + i, at = g * args->rows + i * kPanelOutputs;
      const size_t from = (k / w.group) * kPanelOutputs;
      const size_t n = p * kPanelOutputs, valid = n < args->n ? args->n - n : 0;
      const size_t panel = p < real ? p : 0;
      expand_factors16((const uint16_t*)((const char*)w.scales + panel * w.scale_stride) + from,
                       w.zeros != nullptr ? w.zeros + panel * w.zero_stride + from / 2 : nullptr, valid,
                       kBits, args->scales + at, args->zeros + at);
    }
  }
}

// Four vectors of which unit u holds outputs 4 i to 4 i + 3 of a step become whole steps: unit u's at out + u
// * stride, for units below `units`.
static inline void store_steps(const VecB* quads, uint8_t* out, size_t stride, size_t units) {
  VecI mixed[4], ordered[4];
  for (int i = 0; i < 4; ++i) mixed[i] = as_dwords(quads[i]);
  vi_in_order(mixed, ordered);
  for (int i = 0; i < 4; ++i) {
    const size_t unit = (size_t)i * kLanes / 16, within = (size_t)i * kLanes % 16;
    if (unit < units) vi_store((int32_t*)(out + unit * stride) + within, ordered[i]);
  }
}

template <int kBits>
static inline void expand_row(const ExpandArgs* args) {
  constexpr int kPlanes = planes_of<kBits>();
  constexpr size_t kElements = 16 * kPlanes, kStep = kUnits * kElements;
  const QuantisedWeights& w = args->w;
  const size_t steps = (args->k1 - args->k0) / 4;
  const size_t third_at = 16 * ((args->channels + 63) / 64);
  for (size_t r = 0; r < args->rows && args->n0 + r < args->n; r += 16) {
    const uint8_t* rows[16];
    for (size_t i = 0; i < 16; ++i) {
      const size_t n = args->n0 + r + i;
      rows[i] = w.codes + (n < args->n ? n : args->n - 1) * w.stride;
    }
    for (size_t k = args->k0; k < args->k1; k += kStep) {
      const size_t unit = k / kElements;
      VecB packed[16], thirds[16];
      for (int i = 0; i < 16; ++i) {
        packed[i] = vb_load(rows[i] + 16 * unit);
        if constexpr (kBits == 3)
          thirds[i] = vb_third_bits(rows[i] + third_at, unit);
        else
          thirds[i] = packed[i];
      }
      unroll<0, kPlanes>([&](auto plane) __attribute__((always_inline)) {
        constexpr int kPlane = decltype(plane)::value;
        const size_t channel = k + 16 * kPlane;
        if (channel >= args->k1) return;
        VecB quads[4][4];  // [dword][four rows]
        for (int b = 0; b < 4; ++b) {
          VecB c[4];
          for (int i = 0; i < 4; ++i) c[i] = plane_codes<kBits, kPlane>(packed[4 * b + i], thirds[4 * b + i]);
          const VecB ab_lo = vb_zip32_lo(c[0], c[1]), ab_hi = vb_zip32_hi(c[0], c[1]);
          const VecB cd_lo = vb_zip32_lo(c[2], c[3]), cd_hi = vb_zip32_hi(c[2], c[3]);
          quads[0][b] = vb_zip64_lo(ab_lo, cd_lo), quads[1][b] = vb_zip64_hi(ab_lo, cd_lo);
          quads[2][b] = vb_zip64_lo(ab_hi, cd_hi), quads[3][b] = vb_zip64_hi(ab_hi, cd_hi);
        }
        // Unit u's channels lie kElements further on.
        uint8_t* out = args->codes + (r / 16 * steps + (channel - args->k0) / 4) * 64;
        const size_t units = (args->k1 - channel + kElements - 1) / kElements;
        for (int d = 0; d < 4; ++d) store_steps(quads[d], out + 64 * d, kElements * 16, units);
      });
    }
  }
  for (size_t r = 0; r < args->rows; ++r) {
    const size_t n = args->n0 + r;
    const bool present = n < args->n;
    const size_t row = present ? n : 0;
    const uint16_t* scales = (const uint16_t*)((const char*)w.scales + row * w.scale_stride);
    const uint8_t* zeros = w.zeros != nullptr ? w.zeros + row * w.zero_stride : nullptr;
    for (size_t k = args->k0, g = 0; k < args->k1; k += w.group, ++g) {
      const size_t at = k / w.group;
      const float s = present ? f32_of_f16(scales[at]) : 0.0f;
      const float implied = kBits == 8 ? 128.0f - kW8Bias : kMidpointZero;
      const float z =
          zeros != nullptr ? (float)(zeros[at / 16 * 8 + at % 8] >> (at % 16 < 8 ? 0 : 4) & 15) : implied;
      args->scales[g * args->rows + r] = s;
      args->zeros[g * args->rows + r] = s * (z * zero_step(kBits));
    }
  }
}

template <int kBits>
static inline void expand_channel(const ExpandArgs* args) {
  constexpr int kPlanes = planes_of<kBits>();
  constexpr size_t kElements = 16 * kPlanes, kStep = kUnits * kElements;
  const QuantisedWeights& w = args->w;
  const size_t steps = (args->k1 - args->k0) / 4;
  const size_t third_at = 16 * ((args->n + 63) / 64);
  const size_t end = args->n0 + args->rows < args->n ? args->n0 + args->rows : args->n;
  for (size_t k = args->k0; k < args->k1; k += 4) {
    const uint8_t* channels = w.codes + k * w.stride;
    uint8_t* out = args->codes + (k - args->k0) / 4 * 64;
    for (size_t n = args->n0; n < end; n += kStep) {
      const size_t unit = n / kElements;
      VecB four[4], packed[4], thirds[4];
      for (size_t c = 0; c < 4; ++c) four[c] = vb_load(channels + c * w.stride + 16 * unit);
      vb_interleave<4>(four, packed);
      if (kBits == 3) {
        for (size_t c = 0; c < 4; ++c) four[c] = vb_third_bits(channels + c * w.stride + third_at, unit);
        vb_interleave<4>(four, thirds);
      }
      unroll<0, kPlanes>([&](auto plane) __attribute__((always_inline)) {
        constexpr int kPlane = decltype(plane)::value;
        VecB quads[4];
        for (int i = 0; i < 4; ++i)
          quads[i] = plane_codes<kBits, kPlane>(packed[i], kBits == 3 ? thirds[i] : packed[i]);
        const size_t row = n + 16 * kPlane - args->n0;
        if (row >= args->rows) return;
        const size_t units = (args->rows - row + kElements - 1) / kElements;
        store_steps(quads, out + row / 16 * steps * 64, kElements / 16 * steps * 64, units);
      });
    }
  }
  for (size_t k = args->k0, g = 0; k < args->k1; k += w.group, ++g) {
    const uint16_t* scales = (const uint16_t*)((const char*)w.scales + k / w.group * w.scale_stride);
    const uint8_t* zeros = w.zeros != nullptr ? w.zeros + k / w.group * w.zero_stride : nullptr;
    for (size_t r = 0; r < args->rows; r += 16) {
      const size_t n = args->n0 + r, valid = n < args->n ? args->n - n : 0;
      const size_t from = valid > 0 ? n : 0;
      expand_factors16(scales + from, zeros != nullptr ? zeros + from / 2 : nullptr, valid, kBits,
                       args->scales + g * args->rows + r, args->zeros + g * args->rows + r);
    }
  }
}

template <int kBits>
static inline void expand_width(const ExpandArgs* args) {
  switch (args->layout) {
    case ExpandLayout::row:
      return expand_row<kBits>(args);
    case ExpandLayout::panel:
      return expand_panel<kBits>(args);
    default:
      return expand_channel<kBits>(args);
  }
}

static inline void expand_body(const ExpandArgs* args) {
  switch (args->w.bits) {
    case 2:
      return expand_width<2>(args);
    case 3:
      return expand_width<3>(args);
    case 4:
      return expand_width<4>(args);
    default:
      return expand_width<8>(args);
  }
}

}  // namespace
