// Damped second moments and the factor of their inverse that GPTQ needs.
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "compress/mlwq/matrix.h"

namespace minnow::compress {

/// Sums over the tokens a linear has seen: sum of weight * x x^T, lower triangle and diagonal exact.
struct Moments {
  Matrix second;              // (cols, cols), symmetric
  std::vector<double> first;  // (cols): weighted sum of x
  double weight = 0.0;        // sum of the tokens' weights
  bool empty() const { return second.empty(); }
};

/// Adds tokens (rows of x), each counted `weights[t]` times (null: once). Tiles are spread over the pool.
void add_moments(Moments& m, const Matrix& x, const float* weights, ThreadPool& pool);

struct Factor {
  Matrix upper;                // U with U^T U = H^-1
  std::vector<float> inverse;  // (cols): diagonal of H^-1
};

/// H = second / weight, channels in `order`, inputs that are always zero given a one on the diagonal, plus
/// damping * mean diagonal. Errors: not finite; not positive definite even with more damping.
Result<Matrix> damped(const Moments& m, const std::vector<uint32_t>& order, double damping);
/// U from H, in double.
Result<Factor> factor_inverse(const Matrix& h, ThreadPool& pool);

}  // namespace minnow::compress
