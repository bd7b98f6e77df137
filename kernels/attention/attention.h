// attention: softmax attention of the queries of several tokens and G heads that share one KV head, over
// positions [p0, p1), in one pass: tiles of positions, an online softmax, no array of scores.
//
//   x[r][p]   = scale * ks[p] * sum_d q[r][d] * k[p][d];   with a cap, x = cap * tanh(x / cap)
//   max[r]    = max x[r][p] * log2(e)                     over the p that row r sees
//   sum[r]    = sum exp2(x[r][p] * log2(e) - max[r])
//   out[r][d] = sum exp2(x[r][p] * log2(e) - max[r]) * vs[p] * v[p][d] / sum[r]
//
//   r       (t, g) = token t of [0, tokens), head g of [0, heads); tokens * heads <= kAttentionRows
//   sees    token t: p in [p0, p1) with p < last + t and, if window is not 0, p >= last + t - window
//   q       f32: token t, head g at q + t * q_token_stride + g * q_head_stride, d elements
//   k, v    f32, f16 or int8 in [-127, 127] (the op says which): row p at k + p * row_stride bytes
//   ks, vs  int8 only: f32, row p's at k_scales + p * scale_stride bytes; 1 otherwise
//   d       the padded head size: a multiple of 32, zeros in q beyond the real one
//   out     f32, strides as q's, d elements a row (all written); a row that sees nothing gets zeros, sum 0
//           and max minus infinity
//   max, sum  f32 [tokens * heads] or nullptr. Parts of the positions are put together by weighting their
//           `out` with sum * exp2(max - the largest max).
//
// Rows of k and v are read from memory once for all r. A row's result depends on p0, its query and what it
// sees, not on the other rows of the call. Rows in [p0, p1) that a query does not see must hold finite floats
// (with finite scales). scale > 0. Alignment: natural; scratch 64 bytes, attention_scratch_bytes(d) long, any
// contents. Reads nothing past d elements of a row nor outside [p0, p1).
//
// What int8 KV means for the arithmetic:
//   - a query row is rounded to int8 as quantize.h does: 127 levels of its largest magnitude. Products with k
//     are exact sums of integers;
//   - all variants but the scalar one: within a tile of kAttentionTile positions (they start at p0) the
//   weights
//     exp2(..) * vs[p] are rounded to multiples of step = (their largest) / 255. Products with v are exact.
// Errors, against the exact value for the query so rounded. With w the weights, n = p1 - p0, A the largest
// scale * ks * sum |q k| of a row, e = 2^-20 + (d + 32) * 2^-23 * A + n * 2^-24:
//   out  2 e * sum w |vs v| / sum w;  int8: and 0.51 * sum (step of p's tile) |v's code| / sum w
//   log2(sum) + max  3 e
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"

#define kAttentionRows 64
#define kAttentionTile 128

struct AttentionArgs {
  const float* q;
  size_t q_token_stride, q_head_stride;  // elements
  size_t tokens, heads;
  const void *k, *v;
  size_t row_stride;                 // bytes
  const float *k_scales, *v_scales;  // int8 only
  size_t scale_stride;               // bytes, a multiple of 4
  size_t p0, p1;
  size_t last;    // positions below it are seen by token 0: its own position + 1
  size_t window;  // 0: none
  size_t d;
  float scale, cap;  // cap 0: none
  float* out;
  size_t out_token_stride, out_head_stride;  // elements
  float *max, *sum;
  void* scratch;
};

// Two tiles, queries and sums of kAttentionRows rows of d (rounded up to 64), each 4 bytes; and small things.
static inline size_t attention_scratch_bytes(size_t d) {
  return ((d + 63) / 64 * 64) * 4 * (4 * kAttentionRows + 1) + 16384;
}

enum class AttentionOp { attn_f32_f32_f32, attn_f32_f32_f16, attn_f32_f32_q8 };

typedef void (*AttentionFn)(const AttentionArgs* args);

struct AttentionKernel {
  AttentionOp op;
  const char* name;
  AttentionFn fn;
  uint32_t isa;
};

#define MINNOW_KERNEL(op, symbol, isa) extern "C" void symbol(const AttentionArgs* args);
#include "kernels/attention/variants.inc"
#undef MINNOW_KERNEL

const AttentionKernel* select_attention(AttentionOp op, uint32_t isa_mask);
