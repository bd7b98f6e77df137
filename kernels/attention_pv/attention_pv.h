// attention_pv: the weighted sum of value rows, for G query heads that share one KV head.
//
//   out[g][d] = sum_{p in [p0, p1)} w[g][p] * vs[p] * v[p][d]        for g in [0, G); added to out with
//   accumulate
//
//   w       f32, heads w_stride elements apart, indexed by p as given (not p - p0)
//   v       f32, f16 or int8 (the op says which): row p starts at v + p * row_stride bytes
//   vs      int8 only: f32, row p's scale at row_scales + p * row_scale_stride bytes; 1 otherwise
//   d       the padded head size: a multiple of 32
//   out     f32, heads out_stride elements apart, d elements each (all written)
// Rows of v come from memory once for up to 4 heads and from the first-level cache for the next ones.
// Alignment: natural. Reads nothing past d elements of a row.
// |error| <= (p1 - p0 + 8) * 2^-23 * sum |w * vs * v|.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"

struct AttentionPvArgs {
  const float* w;
  size_t w_stride;  // elements
  const void* v;
  size_t row_stride;        // bytes
  const float* row_scales;  // int8 only
  size_t row_scale_stride;  // bytes, a multiple of 4
  size_t p0, p1;
  size_t heads;  // G
  size_t d;
  float* out;
  size_t out_stride;  // elements
  bool accumulate;
};

enum class AttentionPvOp { attn_pv_f32_f32_f32, attn_pv_f32_f32_f16, attn_pv_f32_f32_q8 };

typedef void (*AttentionPvFn)(const AttentionPvArgs* args);

struct AttentionPvKernel {
  AttentionPvOp op;
  const char* name;
  AttentionPvFn fn;
  uint32_t isa;
};

#define MINNOW_KERNEL(op, symbol, isa) extern "C" void symbol(const AttentionPvArgs* args);
#include "kernels/attention_pv/variants.inc"
#undef MINNOW_KERNEL

const AttentionPvKernel* select_attention_pv(AttentionPvOp op, uint32_t isa_mask);
