// score: products of a few f32 queries with many f16 keys that lie in panels.
//
//   y[g][m] = sum_d q[g][d] * k[m][d]                          for g in [0, heads), m in [0, n)
//
// Shapes and layout
//   q     f32, rows q_stride elements apart, dim elements each
//   k     f16, panels of kScorePanel keys: element (m, d) at k[(m / 16 * dim + d) * 16 + m % 16]
//   y     f32, rows y_stride elements apart
//   heads at least 1; n a multiple of kScorePanel; dim a multiple of 32
// Alignment: natural; panels that begin with cache lines are read faster. Reads and writes no more than that.
// k is read from memory once for all heads. A row of y depends on its query and k, not on the other rows.
// Sums are f32, in an order that differs between variants; |error| <= (dim + 8) * 2^-24 * sum |q * k|.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"

#define kScorePanel 16

struct ScoreArgs {
  const float* q;
  size_t q_stride;  // elements
  const uint16_t* k;
  float* y;
  size_t y_stride;  // elements
  size_t heads, n, dim;
};

enum class ScoreOp { score_f32_f16 };

typedef void (*ScoreFn)(const ScoreArgs* args);

struct ScoreKernel {
  ScoreOp op;
  const char* name;
  ScoreFn fn;
  uint32_t isa;
};

#define MINNOW_KERNEL(op, symbol, isa) extern "C" void symbol(const ScoreArgs* args);
#include "kernels/score/variants.inc"
#undef MINNOW_KERNEL

const ScoreKernel* select_score(ScoreOp op, uint32_t isa_mask);
