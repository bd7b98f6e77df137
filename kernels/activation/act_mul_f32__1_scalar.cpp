// The reference: libm.
#include <math.h>

#include "kernels/activation/activation.h"

static inline float activate(Activation kind, float g) {
  switch (kind) {
    case Activation::silu:
      return g / (1.0f + expf(-g));
    // g / 2 * (1 + tanh(u)) = g / (1 + exp(-2 u)), which does not cancel for negative g
    case Activation::gelu_tanh:
      return g / (1.0f + expf(-1.5957691216f * (g + 0.044715f * g * g * g)));
    case Activation::gelu_erf:
      return 0.5f * g * (1.0f + erff(g * 0.70710678119f));
    case Activation::relu:
      return g < 0.0f ? 0.0f : g;
    case Activation::relu2:
      return g < 0.0f ? 0.0f : g * g;
    case Activation::tanh:
      return tanhf(g);
    case Activation::identity:
      break;
  }
  return g;
}

extern "C" void act_mul_f32__1_scalar(const ActivationArgs* args) {
  for (size_t i = 0; i < args->n; ++i) {
    const float value = activate(args->kind, args->gate[i]);
    args->out[i] = args->up != nullptr ? value * args->up[i] : value;
  }
}
