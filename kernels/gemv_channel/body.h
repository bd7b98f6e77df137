// The body of the SIMD variants. Sixteen channels at a time: their bytes are interleaved by fours, so that a
// dword holds four channels of one output, and meet four activations at once. What depends on the order of
// bytes is undone once a group, when sums become floats.
#pragma once

#include MINNOW_INT

#include "kernels/common/codes.h"
#include "kernels/gemv_channel/gemv_channel.h"

namespace {

static constexpr int kQuads = 4;  // of channels that are added before sums are stored

// Where sixteen channels lie: one after another, or anywhere.
struct Together {
  const uint8_t* codes;
  size_t stride;
  inline const uint8_t* row(int i) const { return codes + (size_t)i * stride; }
};
struct Apart {
  const uint8_t* rows[4 * kQuads];
  inline const uint8_t* row(int i) const { return rows[i]; }
};

// sums[plane][i] of one step (kUnits units of outputs), += the products of count * 4 channels.
template <int kBits, class Channels>
__attribute__((always_inline)) static inline void channel_step(const Channels& channels, int count,
                                                               size_t third_at, size_t unit,
                                                               const VecB* quads, int32_t* sums) {
  constexpr int kPlanes = planes_of<kBits>();
  VecI acc[kPlanes][4];
  Dots dots[kPlanes][4];
  for (int j = 0; j < kPlanes; ++j) {
    for (int i = 0; i < 4; ++i) {
      if (kDotsAreInt32 || kBits == 8)
        acc[j][i] = vi_load(sums + (j * 4 + i) * kLanes);
      else
        dots[j][i] = dots_zero();
    }
  }
  for (int quad = 0; quad < count; ++quad) {
    VecB four[4], packed[4], thirds[4];
    for (int r = 0; r < 4; ++r) {
      four[r] = vb_load(channels.row(4 * quad + r) + 16 * unit);
    }
    zip_four(four, packed);
    if (kBits == 3) {
      for (int r = 0; r < 4; ++r) four[r] = vb_third_bits(channels.row(4 * quad + r) + third_at, unit);
      zip_four(four, thirds);
    }
    unroll<0, kPlanes>([&](auto plane) __attribute__((always_inline)) {
      constexpr int kPlane = decltype(plane)::value;
      for (int i = 0; i < 4; ++i) {
        const VecB w = plane_codes<kBits, kPlane>(packed[i], kBits == 3 ? thirds[i] : packed[i]);
        if constexpr (kBits == 8)
          acc[kPlane][i] = vi_dot_wide(acc[kPlane][i], w, quads[quad]);
        else if constexpr (kDotsAreInt32)
          acc[kPlane][i] = vi_dot(acc[kPlane][i], w, quads[quad]);
        else
          dots[kPlane][i] = dot(dots[kPlane][i], w, quads[quad]);
      }
    });
  }
  for (int j = 0; j < kPlanes; ++j) {
    for (int i = 0; i < 4; ++i) {
      int32_t* to = sums + (j * 4 + i) * kLanes;
      if (kDotsAreInt32 || kBits == 8)
        vi_store(to, acc[j][i]);
      else
        vi_store(to, vi_add(vi_load(to), dots_sum(dots[j][i])));
    }
  }
}

// y += s * (sx * sums - z * zx) for one group; y is written when `store`.
template <int kBits>
static inline void channel_group_end(const GemvChannelArgs* args, size_t g, bool store) {
  constexpr int kPlanes = planes_of<kBits>();
  constexpr size_t kElements = 16 * kPlanes;
  const uint16_t* scales = (const uint16_t*)((const char*)args->w.scales + g * args->w.scale_stride);
  const uint8_t* zeros = args->w.zeros != nullptr ? args->w.zeros + g * args->w.zero_stride : nullptr;
  const VecF implied = v_set1(kBits == 8 ? 128.0f - kW8Bias : kMidpointZero);
  const VecF xs = v_set1(args->x.scales[g]), zx = v_set1(args->x.zs[g] * zero_step(kBits));
  for (size_t first = 0; first < args->n; first += kUnits * kElements) {
    for (int j = 0; j < kPlanes; ++j) {
      VecI mixed[4], ordered[4];
      for (int i = 0; i < 4; ++i) mixed[i] = vi_load(args->sums + first + (size_t)(j * 4 + i) * kLanes);
      vi_in_order(mixed, ordered);
      for (int v = 0; v < 4; ++v) {
        const size_t unit = (size_t)v * kLanes / 16, within = (size_t)v * kLanes % 16;
        const size_t n = first + unit * kElements + 16 * (size_t)j + within;
        if (n >= args->n) continue;
        const VecF s = v_load_f16(scales + n);
        const VecF z = zeros != nullptr ? v_load_zeros(zeros + n / 16 * 8, (int)(within / kLanes)) : implied;
        const VecF sum = v_mul(s, v_sub(v_mul(vi_to_float(ordered[v]), xs), v_mul(z, zx)));
        const size_t left = args->n - n;
        float* y = args->y + n;
        if (left >= kLanes)
          v_store(y, store ? sum : v_add(v_load(y), sum));
        else
          v_store_part(y, store ? sum : v_add(v_load_part(y, left, 0.0f), sum), left);
      }
    }
  }
}

// Fetches a part of the scales and zeros of group g, which lie in places of their own. Inlined by force: GCC
// takes a function that only fetches for one without effects, and drops its calls.
__attribute__((always_inline)) static inline void fetch_factors(const GemvChannelArgs* args, size_t g,
                                                                size_t part, size_t parts) {
  const auto* scales = (const uint8_t*)args->w.scales + g * args->w.scale_stride;
  const uint8_t* zeros = args->w.zeros + g * args->w.zero_stride;
  const size_t from = args->n * part / parts, to = args->n * (part + 1) / parts;
  for (size_t n = from; n < to; n += 32) v_prefetch(scales + 2 * n);
  if (args->w.zeros == nullptr) return;
  for (size_t n = from; n < to; n += 128) v_prefetch(zeros + n / 2);
}

template <int kBits>
static inline void channel_width(const GemvChannelArgs* args) {
  constexpr size_t kElements = 16 * planes_of<kBits>();
  constexpr size_t kStep = kUnits * kElements;
  const QuantisedWeights& w = args->w;
  const size_t units = (args->n + kElements - 1) / kElements;
  const size_t steps = (args->n + kStep - 1) / kStep;
  constexpr size_t kStepBytes = kStep * 4 * kQuads * kBits / 8;
  bool store = !args->accumulate;
  for (size_t k = args->k0; k < args->k1; k += w.group) {
    const size_t end = args->k1 - k < w.group ? args->k1 : k + w.group;
    for (size_t i = 0; i < steps * kStep; i += kLanes) vi_store(args->sums + i, vi_zero());
    for (size_t c = k; c < end; c += 4 * kQuads) {
      const uint8_t* codes = w.codes + c * w.stride;
      // The sixteen channels that follow, in the order memory lies in, so that the hardware sees a stream and
      // runs ahead of it; unless another thread reads them.
      const uint8_t* ahead = c + 8 * kQuads <= args->k1 ? codes + 4 * kQuads * w.stride : codes;
      fetch_factors(args, k / w.group, (c - k) / (4 * kQuads), w.group / (4 * kQuads));
      VecB quads[kQuads];
      for (int q = 0; q < kQuads; ++q) quads[q] = vb_quad(args->x.codes + c + 4 * (size_t)q);
      for (size_t s = 0; s < steps; ++s) {
        for (size_t at = 0; at < kStepBytes; at += 64) v_prefetch(ahead + s * kStepBytes + at);
        channel_step<kBits>(Together{codes, w.stride}, kQuads, 16 * units, s * kUnits, quads,
                            args->sums + s * kStep);
      }
    }
    channel_group_end<kBits>(args, k / w.group, store);
    store = false;
  }
}

// The same for listed channels. The sixteen that follow are fetched line after line of each, as they lie.
template <int kBits>
static inline void channel_listed(const GemvChannelArgs* args) {
  constexpr size_t kElements = 16 * planes_of<kBits>();
  constexpr size_t kStep = kUnits * kElements;
  constexpr uint32_t kBlock = 4 * kQuads;
  const QuantisedWeights& w = args->w;
  const size_t units = (args->n + kElements - 1) / kElements;
  const size_t steps = (args->n + kStep - 1) / kStep;
  constexpr size_t kStepBytes = kStep * kBlock * kBits / 8;
  const uint32_t end = args->starts[(args->k1 + w.group - 1) / w.group];
  bool store = !args->accumulate;
  for (size_t g = args->k0 / w.group; g * w.group < args->k1; ++g) {
    const uint32_t last = args->starts[g + 1];
    if (args->starts[g] == last) continue;
    for (size_t i = 0; i < steps * kStep; i += kLanes) vi_store(args->sums + i, vi_zero());
    for (uint32_t at = args->starts[g]; at < last; at += kBlock) {
      // A last block that is not full is filled up with a channel that counts nothing.
      Apart channels;
      int8_t x[kBlock];
      for (uint32_t i = 0; i < kBlock; ++i) {
        const bool real = at + i < last;
        const uint32_t c = args->list[real ? at + i : last - 1];
        channels.rows[i] = w.codes + c * w.stride;
        x[i] = real ? args->x.codes[c] : (int8_t)0;
      }
      const int count = last - at < kBlock ? (int)((last - at + 3) / 4) : kQuads;
      VecB quads[kQuads];
      for (int q = 0; q < kQuads; ++q) quads[q] = vb_quad(x + 4 * q);
      uint32_t ahead = at + 4 * (uint32_t)count < last ? at + 4 * (uint32_t)count : last;
      const uint32_t ahead_end = end - ahead < kBlock ? end : ahead + kBlock;
      const uint8_t* line = ahead < ahead_end ? w.codes + args->list[ahead] * w.stride : nullptr;
      size_t left = w.stride;
      for (size_t s = 0; s < steps; ++s) {
        for (size_t b = 0; b < kStepBytes && line != nullptr; b += 64) {
          v_prefetch(line);
          if (left > 64) {
            line += 64, left -= 64;
          } else {
            line = ++ahead < ahead_end ? w.codes + args->list[ahead] * w.stride : nullptr;
            left = w.stride;
          }
        }
        channel_step<kBits>(channels, count, 16 * units, s * kUnits, quads, args->sums + s * kStep);
      }
    }
    channel_group_end<kBits>(args, g, store);
    store = false;
  }
  if (!store) return;
  for (size_t n = 0; n < args->n; ++n) args->y[n] = 0.0f;
}

template <int kBits>
static inline void channel_either(const GemvChannelArgs* args) {
  if (args->list != nullptr)
    channel_listed<kBits>(args);
  else
    channel_width<kBits>(args);
}

static inline void gemv_channel_body(const GemvChannelArgs* args) {
  switch (args->w.bits) {
    case 2:
      return channel_either<2>(args);
    case 3:
      return channel_either<3>(args);
    case 4:
      return channel_either<4>(args);
    default:
      return channel_either<8>(args);
  }
}

}  // namespace
