// The reference: one query row and one position at a time, sums in double. Element types say how to read.
#pragma once

#include <math.h>

#include "kernels/attention/attention.h"
#include "kernels/common/float_bits.h"

namespace {

// A row of q, rounded as quantize.h says if the rows of KV are int8.
static inline void scalar_query(const float* q, size_t d, bool rounded, float* to) {
  float most = 0.0f;
  for (size_t i = 0; i < d; ++i) {
    const float size = fabsf(q[i]);
    most = size <= most ? most : size;  // a NaN stays
  }
  const float inverse = most < 0x1p-100f ? 0.0f : 127.0f / most;
  for (size_t i = 0; i < d; ++i) {
    const float magic = 12582912.0f;  // 1.5 * 2^23: the adder rounds to nearest even
    const float code = (q[i] * inverse + magic) - magic;
    to[i] = rounded ? code * (most / 127.0f) : q[i];
  }
}

template <class Type>
static inline void attention_scalar(const AttentionArgs* args, bool rounded) {
  typedef typename Type::Element Element;
  float* query = (float*)args->scratch;
  double* sums = (double*)(query + (args->d + 63) / 64 * 64);
  for (size_t r = 0; r < args->tokens * args->heads; ++r) {
    const size_t t = r / args->heads, h = r % args->heads, limit = args->last + t;
    size_t p = args->window != 0 && limit > args->window ? limit - args->window : 0;
    if (p < args->p0) p = args->p0;
    scalar_query(args->q + t * args->q_token_stride + h * args->q_head_stride, args->d, rounded, query);
    double total = 0;
    float top = -INFINITY;
    for (size_t i = 0; i < args->d; ++i) sums[i] = 0;
    for (; p < args->p1 && p < limit; ++p) {
      const Element* k = (const Element*)((const char*)args->k + p * args->row_stride);
      const Element* v = (const Element*)((const char*)args->v + p * args->row_stride);
      double dot = 0, v_scale = 1;
      for (size_t i = 0; i < args->d; ++i) dot += (double)query[i] * (double)Type::value(k[i]);
      if (rounded) {
        dot *= (double)*(const float*)((const char*)args->k_scales + p * args->scale_stride);
        v_scale = (double)*(const float*)((const char*)args->v_scales + p * args->scale_stride);
      }
      float x = (float)(dot * (double)args->scale);
      if (args->cap != 0.0f) x = args->cap * tanhf(x / args->cap);
      if (!(x <= top)) {  // larger, or NaN: the sums so far are worth less
        const double keep = (double)expf(top - x);
        total *= keep;
        for (size_t i = 0; i < args->d; ++i) sums[i] *= keep;
        top = x;
      }
      const double w = (double)expf(x - top);
      total += w;
      for (size_t i = 0; i < args->d; ++i) sums[i] += w * v_scale * (double)Type::value(v[i]);
    }
    float* out = args->out + t * args->out_token_stride + h * args->out_head_stride;
    for (size_t i = 0; i < args->d; ++i) out[i] = (float)(total == 0 ? 0 : sums[i] / total);
    if (args->max != nullptr) args->max[r] = top * 1.44269504f;
    if (args->sum != nullptr) args->sum[r] = (float)total;
  }
}

}  // namespace
