// How much the model's loss feels an error in each linear: one forward and backward pass of the float
// model.
//
// With labels drawn from the model's own predictions, gradients g_t at a linear's output give the Fisher
// information, and an error E of the weights costs
//   KL per token  ~  1/2 sum_i G_i / mean(G) * e_i^T H e_i,    H = 1/N sum_t |g_t|^2 / rows * x_t x_t^T,
// with e_i the rows of E and G_i the mean square of g_ti: per linear, the Kronecker form of the Fisher
// matrix with the rows' own scales kept and each token weighed by how much it matters. These nats are
// comparable across linears, blocks, embedding and head, which is what lets one budget span them all.
//
// The passes go block by block over all sequences: the weights and second moments of one block are in
// memory at a time, and the inputs of all blocks in the spill.
#pragma once

#include <cstdint>
#include <vector>

#include "compress/mlwq/factor.h"
#include "compress/mlwq/model_weights.h"

namespace minnow::compress {

struct LinearSensitivity {
  Moments moments;                  // tokens weighed by |g|^2 / rows
  std::vector<double> row_weights;  // (rows): G_i / mean(G)
  double tokens = 0.0;
};

struct BlockSensitivity {
  std::array<LinearSensitivity, kRoles> linear;
  /// [sequence][role][token], normalised to a mean of 1 in each linear.
  std::vector<std::array<std::vector<float>, kRoles>> token_weights;
};

/// What lies outside of the blocks.
struct EndSensitivity {
  LinearSensitivity head;
  /// The embedding as a look-up: mean square gradient of each channel per token, and each token's share.
  std::vector<double> embedding_channels;  // (embedding size)
  std::vector<double> token_share;         // (vocab)
  double nll = 0.0;                        // of the float model on these sequences
};

/// Receives each block's sensitivity, the last block first, with its weights.
using BlockVisitor = std::function<Status(size_t block, const BlockWeights& weights, BlockSensitivity found)>;

/// `weighted` false: every token counts the same in the moments, as in GPTQ.
Result<EndSensitivity> measure_sensitivity(const Network& net, const ImportedModel& model,
                                           SequenceSpan sequences, bool weighted, uint64_t seed,
                                           ThreadPool& pool, Spill& spill, const BlockVisitor& visit,
                                           const StageProgress& progress);

}  // namespace minnow::compress
