// gemv_channel: quantised weights in channel layout times one column of int8 activations
// (kernels/common/quantised.h has maths, codes and alignment).
//
//   y[n] = (the sum over channels [k0, k1) of one slab)    for n in [0, N)
//
// An input channel is one run of memory over all outputs, so that channels can be left out: with a list,
// those not in it are not read, and their activations must be zero; the result is that without the list, to
// the bit. Threads split channels: each part has a y of its own, and the caller adds them. k0 is a multiple
// of the group; k1 is one or the slab's channels padded to 32. With accumulate the sum is added to y.
// Channels are added up as integers within a group, sixteen at a time, into `sums`.
//   |error| <= (groups + 4) * 2^-22 * sum_g |s * sx| * ( sum |q * xq| + |z * sum xq| ).
#pragma once

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"
#include "kernels/common/quantised.h"

struct GemvChannelArgs {
  QuantisedWeights w;  // stride: of a channel; scale_stride, zero_stride: of a group
  QuantisedInput x;    // one row of it, all the slab's channels
  float* y;            // f32[n]
  int32_t* sums;       // scratch: n rounded up to kChannelSums
  size_t n;
  size_t k0, k1;
  bool accumulate;
  // Channels to read, ascending: those of group g are list[starts[g]] to list[starts[g + 1]], for all groups
  // in [k0, k1); or nullptr: all.
  const uint32_t* list;
  const uint32_t* starts;
};

static constexpr size_t kChannelSums = 256;

enum class GemvChannelOp { gemv_channel_f32_q8_wn };

typedef void (*GemvChannelFn)(const GemvChannelArgs* args);

struct GemvChannelKernel {
  GemvChannelOp op;
  const char* name;
  GemvChannelFn fn;
  uint32_t isa;
};

#define MINNOW_KERNEL(op, symbol, isa) extern "C" void symbol(const GemvChannelArgs* args);
#include "kernels/gemv_channel/variants.inc"
#undef MINNOW_KERNEL

const GemvChannelKernel* select_gemv_channel(GemvChannelOp op, uint32_t isa_mask);
