// activation: the nonlinearity of the feed-forward block, with or without a gate.
//
//   out[i] = act(gate[i]) * up[i]        up nullptr: out[i] = act(gate[i])
//
//   silu        g / (1 + exp(-g))
//   gelu_tanh   g / 2 * (1 + tanh(sqrt(2 / pi) * (g + 0.044715 g^3)))
//   gelu_erf    g / 2 * (1 + erf(g / sqrt(2)))
//   relu        max(g, 0)
//   relu2       max(g, 0)^2
//   tanh        tanh(g)                  (soft caps: scale before and after)
//   identity    g
//
// n any; out may be gate or up. Alignment: natural. Touches nothing outside the n elements.
// Error of act(g): below 2^-20 relative for silu, gelu_tanh and tanh (results below 2^-100 may be flushed to
// zero); for gelu_erf below 2^-21 * |g|. NaN stays NaN.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"

enum class Activation : int32_t { silu, gelu_tanh, gelu_erf, relu, relu2, tanh, identity };

struct ActivationArgs {
  const float* gate;
  const float* up;  // or nullptr
  float* out;
  size_t n;
  Activation kind;
};

enum class ActivationOp { act_mul_f32 };

typedef void (*ActivationFn)(const ActivationArgs* args);

struct ActivationKernel {
  ActivationOp op;
  const char* name;
  ActivationFn fn;
  uint32_t isa;
};

#define MINNOW_KERNEL(op, symbol, isa) extern "C" void symbol(const ActivationArgs* args);
#include "kernels/activation/variants.inc"
#undef MINNOW_KERNEL

const ActivationKernel* select_activation(ActivationOp op, uint32_t isa_mask);
