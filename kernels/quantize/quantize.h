// quantize: activations to symmetric int8, one scale and one sum a group.
//
//   v[i]     = x[i], or x[gather[i]]             for i < k;  0 for k <= i < k_padded
//   scale[g] = max |v[i]| / 127                  over i in [g * group, min((g + 1) * group, k_padded))
//   q[i]     = round_to_nearest_even(v[i] * (127 / max |v|)), in [-127, 127]
//   sum[g]   = sum of the group's q
//
// A group of zeros has scale 0, codes 0. A group whose maximum is so small (below 2^-100) that 127 / max
// would overflow is treated as zeros. A group with a NaN or an infinity gets scale NaN or infinity and
// unspecified codes within [-127, 127]: whatever is computed from it is then NaN or infinite. Rows m in [0,
// M): x_stride, q_stride and s_stride elements apart; gather is shared by all rows. k_padded and group are
// multiples of 32; k <= k_padded. group >= k_padded makes one group of a row (this is how a KV row is
// quantised). sum may be nullptr. gather indices are the caller's to check. Reads nothing outside x[0, k) (or
// the gathered elements). Alignment: natural. Variants agree bit for bit on finite input: the division and
// the product are single IEEE operations.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"

struct QuantizeArgs {
  const float* x;
  size_t x_stride;         // elements
  const uint32_t* gather;  // [k], or nullptr for the identity
  int8_t* q;
  size_t q_stride;  // elements
  float* scale;
  int32_t* sum;     // or nullptr
  size_t s_stride;  // elements, of scale and sum
  size_t m;
  size_t k, k_padded;
  size_t group;
};

enum class QuantizeOp { quantize_q8_f32 };

typedef void (*QuantizeFn)(const QuantizeArgs* args);

struct QuantizeKernel {
  QuantizeOp op;
  const char* name;
  QuantizeFn fn;
  uint32_t isa;
};

#define MINNOW_KERNEL(op, symbol, isa) extern "C" void symbol(const QuantizeArgs* args);
#include "kernels/quantize/variants.inc"
#undef MINNOW_KERNEL

const QuantizeKernel* select_quantize(QuantizeOp op, uint32_t isa_mask);
