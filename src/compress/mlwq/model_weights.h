// All weights of a model as floats, and whole-model passes over sequences.
#pragma once

#include <functional>
#include <vector>

#include "compress/mlwq/calibration.h"
#include "compress/mlwq/network.h"

namespace minnow::compress {

struct ModelWeights {
  std::vector<BlockWeights> blocks;
  Matrix embedding, head;  ///< head empty: tied to the embedding
  Matrix in, out;          ///< projections beside them, or empty
  std::vector<float> head_bias;
  NormParameters final_norm;
  const Matrix& head_matrix() const { return head.empty() ? embedding : head; }
};
Result<ModelWeights> read_weights(const ImportedModel& model, ThreadPool& pool);

/// False cancels. `done` of `total` in a unit of the stage's own.
using StageProgress = std::function<bool(const char* stage, uint64_t done, uint64_t total)>;

/// Runs body(index, slot) for every sequence, each on one thread; stops with `cancelled` when told to.
Status for_sequences(ThreadPool& pool, size_t count,
                     const std::function<void(size_t index, uint32_t slot)>& body);

/// Hidden states behind the last block, one matrix a sequence.
std::vector<Matrix> hidden_states(const Network& net, const ModelWeights& w, const Sequences& sequences,
                                  ThreadPool& pool);

/// Sequences drawn from the model itself, token by token at temperature 1, many in lockstep: `count` of
/// `length` tokens, each made of pieces that start anew. The same seed gives the same tokens.
Result<Sequences> sample_sequences(const Network& net, const ModelWeights& w, int32_t bos, uint32_t length,
                                   uint32_t count, uint64_t seed, ThreadPool& pool,
                                   const StageProgress& progress);

struct HeldOut {
  double nll = 0.0;                       ///< nats per token
  double kld = 0.0, reference_nll = 0.0;  ///< from and of the reference, where there is one
  uint64_t tokens = 0;
};
/// Mean loss over the tokens of each sequence from `skip` on. `reference`: hidden states (and weights) of
/// the float model.
HeldOut evaluate(const Network& net, const ModelWeights& w, const Sequences& sequences, uint32_t skip,
                 const ModelWeights* reference, ThreadPool& pool);

}  // namespace minnow::compress
