// attention_qk: scores of G query heads that share one KV head, over the rows of its keys.
//
//   scores[g][p] = scale * ks[p] * sum_d q[g][d] * k[p][d]          for p in [p0, p1), g in [0, G)
//
//   q       f32, heads q_stride elements apart, d elements each
//   k       f32, f16 or int8 (the op says which): row p starts at k + p * row_stride bytes
//   ks      int8 only: f32, row p's scale at row_scales + p * row_scale_stride bytes; 1 otherwise
//   d       the padded head size: a multiple of 32, zeros in q beyond the real one (k may hold any finite
//   value there) scores  f32, heads scores_stride elements apart, indexed by p as given (not p - p0)
// Every row of k is read from memory once for all G heads. Alignment: natural. Reads nothing past d elements
// of a row. |error| <= (d + 8) * 2^-24 * |scale * ks| * sum |q * k|.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"

struct AttentionQkArgs {
  const float* q;
  size_t q_stride;  // elements
  const void* k;
  size_t row_stride;        // bytes
  const float* row_scales;  // int8 only
  size_t row_scale_stride;  // bytes, a multiple of 4
  size_t p0, p1;
  size_t heads;  // G
  size_t d;
  float scale;
  float* scores;
  size_t scores_stride;  // elements
};

enum class AttentionQkOp { attn_qk_f32_f32_f32, attn_qk_f32_f32_f16, attn_qk_f32_f32_q8 };

typedef void (*AttentionQkFn)(const AttentionQkArgs* args);

struct AttentionQkKernel {
  AttentionQkOp op;
  const char* name;
  AttentionQkFn fn;
  uint32_t isa;
};

#define MINNOW_KERNEL(op, symbol, isa) extern "C" void symbol(const AttentionQkArgs* args);
#include "kernels/attention_qk/variants.inc"
#undef MINNOW_KERNEL

const AttentionQkKernel* select_attention_qk(AttentionQkOp op, uint32_t isa_mask);
