// Activation thresholds of a model, and a file that carries them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "compress/compress.h"
#include "compress/mlwq/network.h"
#include "format/container.h"
#include "model/weights.h"

namespace minnow::compress {

/// Of one layer. Empty vectors: no thresholds there.
struct LayerThresholds {
  std::array<std::vector<float>, kRoles> input;  ///< by role, on the linear's input, natural order
  std::vector<float> gate;                       ///< on act(gate)
  std::vector<float>& operator[](Role r) { return input[static_cast<size_t>(r)]; }
  const std::vector<float>& operator[](Role r) const { return input[static_cast<size_t>(r)]; }
};
using Thresholds = std::vector<LayerThresholds>;

const model::LinearWeights* linear_of(const model::LayerWeights& layer, Role role);

/// Thresholds in the order in which the linear stores its inputs.
std::vector<float> in_slab_order(const model::LinearWeights& linear, const std::vector<float>& natural);

/// sqrt(sum over outputs of W^2) for every input, natural order.
std::vector<float> input_norms(const model::LinearWeights& linear, const model::KernelSet& kernels,
                               ThreadPool& pool);

/// Writes the model in `container` to `path` with these thresholds and no others, its codes untouched.
/// Linears whose inputs may be skipped are stored by channels, `up` by rows where gates have thresholds, all
/// others as the compressor stores them by itself. `settings` is put into the provenance under "sparsity".
Result<CompressReport> write_with_thresholds(const format::Container& container, const Thresholds& thresholds,
                                             const std::string& settings, ThreadPool& pool,
                                             const std::string& path);

}  // namespace minnow::compress
