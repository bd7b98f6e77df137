// The body of the SIMD variants: whole vectors, the remainder one by one.
#pragma once

#include "kernels/common/float_bits.h"
#include "kernels/common/vec_types.h"
#include "kernels/convert/convert.h"

namespace {

static inline float widen_one(RowF16, uint16_t x) {
  return f32_of_f16(x);
}
static inline float widen_one(RowBf16, uint16_t x) {
  return f32_of_bf16(x);
}

template <class Row>
static inline void widen_body(const ConvertArgs* args) {
  const uint16_t* src = (const uint16_t*)args->src;
  float* dst = (float*)args->dst;
  size_t i = 0;
  for (; i + kLanes <= args->n; i += kLanes) v_store(dst + i, Row::load(src + i));
  for (; i < args->n; ++i) dst[i] = widen_one(Row(), src[i]);
}

static inline void narrow_f16_body(const ConvertArgs* args) {
  const float* src = (const float*)args->src;
  uint16_t* dst = (uint16_t*)args->dst;
  size_t i = 0;
  for (; i + kLanes <= args->n; i += kLanes) v_store_f16(dst + i, v_load(src + i));
  for (; i < args->n; ++i) dst[i] = f16_of_f32(src[i]);
}

static inline void narrow_bf16_body(const ConvertArgs* args) {
  const float* src = (const float*)args->src;
  uint16_t* dst = (uint16_t*)args->dst;
  size_t i = 0;
  for (; i + kLanes <= args->n; i += kLanes) v_store_bf16(dst + i, v_load(src + i));
  for (; i < args->n; ++i) dst[i] = bf16_of_f32(src[i]);
}

}  // namespace
