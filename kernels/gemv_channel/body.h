// The body of the SIMD variants. As many channels as the ISA's product adds up (kInterleave) are interleaved,
// so that neighbouring bytes are channels of one output, and meet as many activations at once; sixteen
// channels are added up before sums go back to memory. What depends on the order of bytes, and the powers of
// two that codes carry (fields.h), is undone once a group, when sums become floats.
#pragma once

#include MINNOW_INT

#include "kernels/gemv_channel/fields.h"
#include "kernels/gemv_channel/gemv_channel.h"

namespace {

static constexpr int kBlock = 16;  // channels
static constexpr int kStreams = 4;

// Where a block's channels lie: one after another, or anywhere. What comes next is fetched as the block is
// read, as four streams in the order memory lies in: the hardware sees them and runs ahead of each, to the
// end of its page, and four pages at once keep more lines on their way than one.
struct Together {
  const uint8_t* codes;
  size_t stride;
  const uint8_t* ahead;
  inline const uint8_t* row(int i) const { return codes + (size_t)i * stride; }
  // Forced inline: see v_prefetch.
  __attribute__((always_inline)) inline void fetch(size_t bytes) const {
    for (int stream = 0; stream < kStreams; ++stream) {
      const uint8_t* from = ahead + stream * (kBlock / kStreams) * stride;
      for (size_t at = 0; at < bytes / kStreams; at += 64) v_prefetch(from + at);
    }
  }
};
struct Apart {
  const uint8_t* const* rows;
  inline const uint8_t* row(int i) const { return rows[i]; }
  inline void fetch(size_t) const {}
};

// 8-bit codes leave no room for sums of 16 bits, and are taken by fours everywhere.
template <int kBits>
static constexpr int interleave_of() {
  return kBits == 8 ? 4 : kInterleave;
}
// Where accumulators are few, outputs of a step are taken in two halves.
template <int kBits>
static constexpr int halves_of() {
  return interleave_of<kBits>() == 4 && planes_of<kBits>() * 4 > kTileAccumulators ? 2 : 1;
}

// Bytes of a block that a step takes; 3-bit codes have half a unit of third bits beside each.
template <int kBits>
static constexpr size_t step_bytes() {
  return (size_t)kUnits * 16 * kBlock * (kBits == 3 ? 3 : 2) / 2;
}

// Activations of a block: what each set of interleaved channels meets.
template <int kBits>
struct BlockInputs {
  VecB sets[kBlock / interleave_of<kBits>()];
  explicit BlockInputs(const int8_t* x) {
    constexpr int kSet = interleave_of<kBits>();
    for (int i = 0; i < kBlock / kSet; ++i)
      sets[i] = kSet == 4 ? vb_quad(x + 4 * i) : vb_repeat(x + kSet * i);
  }
};

// sums[plane][i] of one step (kUnits units of outputs), += the products of a block's first `count` channels,
// a multiple of four.
template <int kBits, class Channels>
__attribute__((always_inline)) static inline void channel_step(const Channels& channels, int count,
                                                               size_t third_at, size_t unit,
                                                               const BlockInputs<kBits>& x, int32_t* sums) {
  constexpr int kPlanes = planes_of<kBits>(), kBytes = plane_bytes<kBits>(), kFields = fields_of<kBits>();
  constexpr int kSet = interleave_of<kBits>(), kHalves = halves_of<kBits>(), kVectors = kSet / kHalves;
  constexpr int kSums = 4 / kSet * kLanes;  // of a Dots
  channels.fetch(step_bytes<kBits>());
  unroll<0, kHalves>([&](auto half) __attribute__((always_inline)) {
    constexpr int kHalf = decltype(half)::value;
    VecI wide[kVectors];
    Dots dots[kPlanes][kVectors];
    for (int i = 0; i < kVectors; ++i) {
      if (kBits == 8) wide[i] = vi_load(sums + i * kLanes);
      for (int j = 0; j < kPlanes && kBits != 8; ++j)
        dots[j][i] = dots_begin(sums + 4 * j * kLanes + (kHalf * kVectors + i) * kSums);
    }
    for (int set = 0; set < count / kSet; ++set) {
      const int c = set * kSet;
      VecB rows[kSet], packed[kVectors], thirds[kVectors];
      for (int r = 0; r < kSet; ++r) rows[r] = vb_load(channels.row(c + r) + 16 * unit);
      vb_interleave<kSet, kHalf, kHalves>(rows, packed);
      if (kBits == 3) {
        for (int r = 0; r < kSet; ++r) rows[r] = vb_third_bits(channels.row(c + r) + third_at, unit);
        vb_interleave<kSet, kHalf, kHalves>(rows, thirds);
      }
      for (int i = 0; i < kVectors; ++i) {
        VecB bytes[kBytes];
        field_bytes<kBits>(packed[i], kBits == 3 ? thirds[i] : packed[i], bytes);
        unroll<0, kFields>([&](auto field) __attribute__((always_inline)) {
          for (int b = 0; b < kBytes; ++b) {
            const VecB w = field_codes<kBits, decltype(field)::value>(bytes[b]);
            Dots* to = &dots[decltype(field)::value * kBytes + b][i];
            if constexpr (kBits == 8)
              wide[i] = vi_dot_wide(wide[i], w, x.sets[set]);
            else
              *to = dot(*to, w, x.sets[set]);
          }
        });
      }
    }
    for (int i = 0; i < kVectors; ++i) {
      if (kBits == 8) vi_store(sums + i * kLanes, wide[i]);
      for (int j = 0; j < kPlanes && kBits != 8; ++j)
        dots_end(dots[j][i], sums + 4 * j * kLanes + (kHalf * kVectors + i) * kSums);
    }
  });
}

// y += s * (sx * sums - z * zx) for one group; y is written when `store`.
template <int kBits>
static inline void channel_group_end(const GemvChannelArgs* args, size_t g, bool store) {
  constexpr int kPlanes = planes_of<kBits>(), kBytes = plane_bytes<kBits>();
  constexpr size_t kElements = 16 * kPlanes;
  const uint16_t* scales = (const uint16_t*)((const char*)args->w.scales + g * args->w.scale_stride);
  const uint8_t* zeros = args->w.zeros != nullptr ? args->w.zeros + g * args->w.zero_stride : nullptr;
  const VecF implied = v_set1(kBits == 8 ? 128.0f - kW8Bias : kMidpointZero);
  const VecF zx = v_set1(args->x.zs[g] * zero_step(kBits));
  for (size_t first = 0; first < args->n; first += kUnits * kElements) {
    int32_t* sums = args->sums + first;
    for (int j = 0; j < kPlanes; ++j) {
      const VecF xs = v_set1(args->x.scales[g] / (float)(1 << plane_power<kBits>(j)));
      VecI mixed[4], ordered[4];
      for (int i = 0; i < 4; ++i) {
        mixed[i] = vi_load(sums + (size_t)(j * 4 + i) * kLanes);
        if (!field_takes_all<kBits>() || j >= kBytes) continue;
        for (int other = j + kBytes; other < kPlanes; other += kBytes)
          mixed[i] = vi_sub(mixed[i], vi_load(sums + (size_t)(other * 4 + i) * kLanes));
      }
      if (kBits != 8) vi_after_dots(mixed);
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
  bool store = !args->accumulate;
  for (size_t k = args->k0; k < args->k1; k += w.group) {
    const size_t end = args->k1 - k < w.group ? args->k1 : k + w.group;
    for (size_t i = 0; i < steps * kStep; i += kLanes) vi_store(args->sums + i, vi_zero());
    for (size_t c = k; c < end; c += kBlock) {
      const uint8_t* codes = w.codes + c * w.stride;
      // The block that follows, unless another thread reads it.
      const uint8_t* ahead = c + 2 * kBlock <= args->k1 ? codes + kBlock * w.stride : codes;
      fetch_factors(args, k / w.group, (c - k) / kBlock, w.group / kBlock);
      const BlockInputs<kBits> x(args->x.codes + c);
      for (size_t s = 0; s < steps; ++s) {
        channel_step<kBits>(Together{codes, w.stride, ahead + s * (step_bytes<kBits>() / kStreams)}, kBlock,
                            16 * units, s * kUnits, x, args->sums + s * kStep);
      }
    }
    channel_group_end<kBits>(args, k / w.group, store);
    store = false;
  }
}

// Fetches pairs [from, to) of lines of a block's channels: two lines of each, then the next two, in the order
// they are read in, all runs side by side. Forced inline: see fetch_factors.
static constexpr size_t kPair = 128;  // bytes
__attribute__((always_inline)) static inline void fetch_pairs(const uint8_t* const* rows, size_t from,
                                                              size_t to) {
  for (size_t pair = from; pair < to; ++pair) {
    const uint8_t* lines = rows[pair % kBlock] + pair / kBlock * kPair;
    v_prefetch(lines);
    v_prefetch(lines + 64);
  }
}

// The same for listed channels. The block listed next is fetched meanwhile, the same outputs of all of
// them before further ones of any: a run is too short for the hardware to run ahead in, and where it tries,
// it fetches what nobody reads. A few lines every step: many at once leave no room for what the step reads.
template <int kBits>
static inline void channel_listed(const GemvChannelArgs* args) {
  constexpr size_t kElements = 16 * planes_of<kBits>();
  constexpr size_t kStep = kUnits * kElements;
  constexpr size_t kPairs = step_bytes<kBits>() / kPair;  // fetched while a step is taken
  const QuantisedWeights& w = args->w;
  const size_t units = (args->n + kElements - 1) / kElements;
  const size_t steps = (args->n + kStep - 1) / kStep;
  const size_t pairs = (w.stride + kPair - 1) / kPair * kBlock;
  const uint32_t end = args->starts[(args->k1 + w.group - 1) / w.group];
  bool store = !args->accumulate;
  // Nobody has fetched the first block.
  const uint32_t start = args->starts[args->k0 / w.group];
  if (start < end) {
    const uint8_t* rows[kBlock];
    for (uint32_t i = 0; i < kBlock; ++i)
      rows[i] = w.codes + args->list[start + i < end ? start + i : end - 1] * w.stride;
    fetch_pairs(rows, 0, pairs);
  }
  for (size_t g = args->k0 / w.group; g * w.group < args->k1; ++g) {
    const uint32_t begin = args->starts[g], last = args->starts[g + 1];
    if (begin == last) continue;
    const uint32_t blocks = (last - begin + kBlock - 1) / kBlock;
    const uint32_t parts = blocks > 1 ? blocks - 1 : 1;
    for (size_t i = 0; i < steps * kStep; i += kLanes) vi_store(args->sums + i, vi_zero());
    for (uint32_t block = 0; block < blocks; ++block) {
      const uint32_t at = begin + block * kBlock;
      if (block < parts) fetch_factors(args, g, block, parts);
      // A last block that is not full is filled up with a channel that counts nothing.
      const uint8_t *rows[kBlock], *ahead[kBlock];
      int8_t x[kBlock];
      const uint32_t next = last - at < kBlock ? last : at + kBlock;
      for (uint32_t i = 0; i < kBlock; ++i) {
        const bool real = at + i < last;
        const uint32_t c = args->list[real ? at + i : last - 1];
        rows[i] = w.codes + c * w.stride;
        x[i] = real ? args->x.codes[c] : (int8_t)0;
        ahead[i] = w.codes + args->list[next + i < end ? next + i : end - 1] * w.stride;
      }
      // Addresses stay in memory: in registers they leave none for the rest.
      __asm__ volatile("" : : "r"(rows), "r"(ahead) : "memory");
      const Apart channels{rows};
      const int count = last - at < kBlock ? (int)(last - at + 3) / 4 * 4 : kBlock;
      const BlockInputs<kBits> inputs(x);
      for (size_t s = 0; s < steps; ++s) {
        fetch_pairs(ahead, s * kPairs, s + 1 < steps ? (s + 1) * kPairs : pairs);
        int32_t* sums = args->sums + s * kStep;
        if (count == kBlock)
          channel_step<kBits>(channels, kBlock, 16 * units, s * kUnits, inputs, sums);
        else
          channel_step<kBits>(channels, count, 16 * units, s * kUnits, inputs, sums);
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
