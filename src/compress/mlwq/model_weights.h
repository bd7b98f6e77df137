// The weights of a model as floats, as much of it at a time as is needed, and what sequences go through.
#pragma once

#include <functional>
#include <vector>

#include "compress/mlwq/calibration.h"
#include "compress/mlwq/network.h"
#include "compress/mlwq/spill.h"

namespace minnow::compress {

/// What lies before the first block and behind the last.
struct ModelEnds {
  Matrix embedding, head;  ///< head empty: tied to the embedding
  Matrix in, out;          ///< projections beside them, or empty
  std::vector<float> head_bias;
  NormParameters final_norm;
  const Matrix& head_matrix() const { return head.empty() ? embedding : head; }
};
Result<ModelEnds> read_ends(const ImportedModel& model, ThreadPool& pool);

/// False cancels. `done` of `total` in a unit of the stage's own.
using StageProgress = std::function<bool(const char* stage, uint64_t done, uint64_t total)>;

/// Runs body(index, slot) for every sequence, each on one thread, and returns the failure of the first that
/// failed. Slots: ThreadPool::parallel_for.
Status for_sequences(ThreadPool& pool, size_t count,
                     const std::function<Status(size_t index, uint32_t slot)>& body);

/// Where a forward pass over whole sequences takes its weights from.
struct WeightSource {
  const ModelEnds* ends;
  size_t blocks;
  std::function<Result<BlockWeights>(size_t block)> block;
};

struct HeldOut {
  double nll = 0.0;                       ///< nats per token
  double kld = 0.0, reference_nll = 0.0;  ///< from and of the reference
  uint64_t tokens = 0;
};
/// Mean loss of `mine` over the tokens of each sequence from `skip` on, and how far it lies from `reference`.
Result<HeldOut> evaluate(const Network& net, const WeightSource& mine, const WeightSource& reference,
                         const Sequences& sequences, uint32_t skip, ThreadPool& pool, Spill& spill,
                         const StageProgress& progress);

}  // namespace minnow::compress
