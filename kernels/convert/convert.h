// convert: arrays between float formats. dst[i] = src[i], for i in [0, n).
//
//   convert_f32_f16, convert_f32_bf16   widening, exact (subnormals included)
//   convert_f16_f32, convert_bf16_f32   round to nearest even; f16 overflow gives infinity
//
// NaN stays NaN (its payload may change). n any. Alignment: natural. src and dst do not overlap.
// Variants agree bit for bit, NaN payloads apart.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"

struct ConvertArgs {
  const void* src;
  void* dst;
  size_t n;
};

enum class ConvertOp { convert_f32_f16, convert_f32_bf16, convert_f16_f32, convert_bf16_f32 };

typedef void (*ConvertFn)(const ConvertArgs* args);

struct ConvertKernel {
  ConvertOp op;
  const char* name;
  ConvertFn fn;
  uint32_t isa;
};

#define MINNOW_KERNEL(op, symbol, isa) extern "C" void symbol(const ConvertArgs* args);
#include "kernels/convert/variants.inc"
#undef MINNOW_KERNEL

const ConvertKernel* select_convert(ConvertOp op, uint32_t isa_mask);
