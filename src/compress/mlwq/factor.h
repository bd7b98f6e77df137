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
  /// Adds what another lot of tokens gave.
  void add(const Moments& other);
};

/// Adds tokens (rows of x), each counted `weights[t]` times (null: once). Tiles are spread over the pool.
void add_moments(Moments& m, const Matrix& x, const float* weights, ThreadPool& pool);

/// How far a linear's inputs x^ and the residual r^ that its output is added to have drifted from x and r of
/// the float model: sums of weight * (x - x^) x^^T and weight * (r - r^) x^^T.
struct Drift {
  Matrix inputs;        // (cols, cols)
  Matrix residual;      // (rows, cols), or empty
  double weight = 0.0;  // sum of the tokens' weights
  bool empty() const { return inputs.empty(); }
};
/// sum += weighted (wanted - had)^T x. Shapes: sum (cols of had, cols of x), had and wanted alike, tokens in
/// rows.
void add_drift(Matrix& sum, const Matrix& wanted, const Matrix& had, const Matrix& x, const float* weights,
               ThreadPool& pool);

/// Lower Cholesky factor in place (row-major n x n); false when a pivot is not positive. What lies above the
/// diagonal is neither read nor written.
bool cholesky(std::vector<double>& a, size_t n, ThreadPool& pool);

struct Factor {
  Matrix upper;                // U with U^T U = H^-1
  std::vector<float> inverse;  // (cols): diagonal of H^-1
};

/// H = second / weight, channels in `order`, inputs that are always zero given a one on the diagonal, plus
/// damping * mean diagonal. Errors: not finite; not positive definite even with more damping.
Result<Matrix> damped(const Moments& m, const std::vector<uint32_t>& order, double damping);
/// Drift as make_up() takes it: of a token, channels in `order`, `share` of it.
Drift in_order(Drift d, const std::vector<uint32_t>& order, double share);
/// The weights that, on inputs as they have drifted, come nearest to what `w` (rows, cols) makes of those of
/// the float model, residual included; as much of the way as in_order() was told. w's channels are in the
/// order of `drift`, `h` and `factor`, and its rows those from `first` on. (QEP: Arai and Ichikawa, 2025, for
/// the inputs; the residual's part is ours.) Of 64 rows together the change gives out no more than the
/// weights do: drift that was followed over few tokens is mostly chance, and what makes up for it would grow
/// from block to block.
void make_up(Matrix& w, size_t first, const Drift& drift, const Matrix& h, const Factor& factor,
             ThreadPool& pool);
/// U from H, in double: half of a matrix of doubles beside the two.
Result<Factor> factor_inverse(const Matrix& h, ThreadPool& pool);

}  // namespace minnow::compress
