// The body of the SIMD variants: one loop a kind, so that the choice stays outside it.
#pragma once

#include "kernels/activation/activation.h"
#include "kernels/common/vec_math.h"

namespace {

template <Activation kKind>
static inline VecF activate(VecF g) {
  const VecF zero = v_zero();
  const VecF one = v_set1(1.0f);
  switch (kKind) {
    case Activation::silu:
      return v_div(g, v_add(one, v_exp(v_sub(zero, g))));
    case Activation::gelu_tanh: {
      // g / 2 * (1 + tanh(u)) = g / (1 + exp(-2 u)), which does not cancel for negative g
      const VecF cubic = v_fma(v_mul(v_mul(g, g), v_set1(0.044715f)), g, g);
      return v_div(g, v_add(one, v_exp(v_mul(cubic, v_set1(-1.5957691216f)))));
    }
    case Activation::gelu_erf: {
      const VecF tail = v_mul(v_set1(0.5f), v_erfc_of_positive(v_mul(v_abs(g), v_set1(0.70710678119f))));
      return v_mul(g, v_if_less(g, zero, tail, v_sub(one, tail)));
    }
    case Activation::relu:
      return v_if_less(g, zero, zero, g);
    case Activation::relu2:
      return v_if_less(g, zero, zero, v_mul(g, g));
    case Activation::tanh:
      return v_tanh(g);
    case Activation::identity:
      break;
  }
  return g;
}

template <Activation kKind>
static inline void activation_loop(const ActivationArgs* args) {
  for (size_t i = 0; i < args->n; i += kLanes) {
    const size_t left = args->n - i;
    const bool whole = left >= kLanes;
    VecF v = activate<kKind>(whole ? v_load(args->gate + i) : v_load_part(args->gate + i, left, 0.0f));
    if (args->up != nullptr)
      v = v_mul(v, whole ? v_load(args->up + i) : v_load_part(args->up + i, left, 0.0f));
    if (whole) {
      v_store(args->out + i, v);
    } else {
      v_store_part(args->out + i, v, left);
    }
  }
}

static inline void activation_body(const ActivationArgs* args) {
  switch (args->kind) {
    case Activation::silu:
      return activation_loop<Activation::silu>(args);
    case Activation::gelu_tanh:
      return activation_loop<Activation::gelu_tanh>(args);
    case Activation::gelu_erf:
      return activation_loop<Activation::gelu_erf>(args);
    case Activation::relu:
      return activation_loop<Activation::relu>(args);
    case Activation::relu2:
      return activation_loop<Activation::relu2>(args);
    case Activation::tanh:
      return activation_loop<Activation::tanh>(args);
    case Activation::identity:
      return activation_loop<Activation::identity>(args);
  }
}

}  // namespace
