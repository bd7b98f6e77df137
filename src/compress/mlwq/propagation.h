// Calibration's sequences on their way through the quantised model: a block's second moments are those of
// what the quantised blocks before it hand on.
#pragma once

#include <array>

#include "compress/mlwq/factor.h"
#include "compress/mlwq/model_weights.h"

namespace minnow::compress {

/// [sequence][role][token]; sequences it does not have, and empty lists, count every token once.
using TokenWeights = std::vector<std::array<std::vector<float>, kRoles>>;

class Propagation {
 public:
  /// The hidden states before the first block. Memory: a matrix a sequence, in the spill.
  static Result<Propagation> start(const Network& net, const ModelEnds& ends, const Sequences& sequences,
                                   ThreadPool& pool, Spill& spill);

  /// Adds up what `roles` of the next block get to see, its own weights `w` still unquantised.
  Status gather(const BlockWeights& w, std::span<const Role> roles, const TokenWeights* weights,
                std::array<Moments, kRoles>& moments);
  /// Takes all sequences through the next block.
  Status advance(const BlockWeights& w);

 private:
  Propagation(const Network& net, ThreadPool& pool) : net_(net), pool_(pool) {}

  const Network& net_;
  ThreadPool& pool_;
  MatrixStore x_;  // the next block's inputs
  std::vector<Tape> tapes_;
  std::vector<Matrix> in_, out_;
};

}  // namespace minnow::compress
