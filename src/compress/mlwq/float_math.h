// The elementwise mathematics of the calibration passes.
#pragma once

#include <cstddef>

#include "format/metadata.h"

namespace minnow::compress {

/// Adds to dx (n) the gradient through y = norm(x) * weight, given dy.
/// `centred`: LayerNorm, else RMSNorm.
void norm_row_backward(const float* x, const float* weight, const float* dy, size_t n, float eps,
                       bool centred, float* dx);

/// Gradient of inner = act(gate) * up (or act(gate) where up is null), given that of inner.
void activation_gradient(format::Activation kind, const float* gate, const float* up, const float* dinner,
                         size_t n, float* dgate, float* dup);

/// x[0, n) becomes exp(x - max), and the sum of it is returned with the maximum.
struct ExpSum {
  float max;
  double sum;
};
ExpSum exp_in_place(float* x, size_t n);

/// Softmax in place; `exponents` of minus infinity are zero.
void softmax_in_place(float* x, size_t n);

/// log sum exp of a row.
double log_sum_exp(const float* x, size_t n);

}  // namespace minnow::compress
