// One linear to codes: groups of channels of given widths, errors carried on to the channels that follow
// (GPTQ), then a descent over codes and scales on the same objective.
//
// Everything here is in processing order: column j is the j-th channel quantised. The caller decides the
// order, permutes W and H, and scatters the codes to where they are stored.
//
// Sources: Frantar et al., GPTQ (2022); Hu et al., MLWQ (EMNLP 2025), sections 5.2 and 5.3; the descent is
// coordinate descent on (w - q)^T H (w - q), as in Behdin et al., QuantEase (2023).
#pragma once

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "compress/mlwq/factor.h"
#include "compress/mlwq/grid.h"
#include "compress/mlwq/matrix.h"

namespace minnow::compress {

/// Consecutive columns that share a grid. Ends of slabs may leave a short last group.
struct Group {
  uint32_t begin = 0, count = 0, bits = 0;
};

struct GptqOptions {
  ClipSearch clip = ClipSearch::weighted;
  bool compensate = true;  ///< false: round to nearest on the fitted grids
  uint32_t descents = 0;   ///< rounds of the descent after the last column
};

struct GptqResult {
  std::vector<uint8_t> codes;  // (rows, cols)
  std::vector<Grid> grids;     // (rows, groups)
  Matrix values;               // (rows, cols): what the codes stand for
  /// (rows): (w - q) H (w - q)^T as it was before the descent, which compensation knows; empty without.
  std::vector<double> errors;
};

/// w (rows, cols); h (cols, cols) damped and `factor` of it, both empty without compensation: errors then
/// count alike. Rows are spread over the pool; the result
/// does not depend on the number of threads. Errors: values too large for f16 scales.
Result<GptqResult> quantise_linear(const Matrix& w, const Matrix& h, const Factor& factor,
                                   const std::vector<Group>& groups, const GptqOptions& options,
                                   ThreadPool& pool);

/// (w - q) H (w - q)^T, its diagonal: the error of each output row. An empty h is the identity.
std::vector<double> row_errors(const Matrix& w, const Matrix& q, const Matrix& h, ThreadPool& pool);

}  // namespace minnow::compress
