// Calibration's sequences on their way through the quantised model, and through the float model beside it: a
// block's second moments are those of what the quantised blocks before it hand on, and its linears are told
// how far that has drifted.
#pragma once

#include <array>

#include "compress/mlwq/factor.h"
#include "compress/mlwq/model_weights.h"

namespace minnow::compress {

/// [sequence][role][token]; sequences it does not have, and empty lists, count every token once.
using TokenWeights = std::vector<std::array<std::vector<float>, kRoles>>;

class Propagation {
 public:
  /// The hidden states before the first block. `floats`: the embedding before it was quantised, or null where
  /// no drift is wanted. Memory: one or two matrices a sequence, in the spill.
  static Result<Propagation> start(const Network& net, const ModelEnds& ends, const Matrix* floats,
                                   const Sequences& sequences, ThreadPool& pool, Spill& spill);

  /// Adds up what `roles` of the next block get to see, its own weights `w` still unquantised, and takes the
  /// float model's sequences through it. Once a block, also without roles.
  Status gather(const BlockWeights& w, std::span<const Role> roles, const TokenWeights* weights,
                std::array<Moments, kRoles>& moments, std::array<Drift, kRoles>& drift);
  /// Takes the quantised model's sequences through the next block.
  Status advance(const BlockWeights& w);

 private:
  Propagation(const Network& net, ThreadPool& pool) : net_(net), pool_(pool) {}
  bool drifts() const { return floats_.count() != 0; }
  /// Adds what a linear gets to see of the sequence whose tapes are those of `slot`.
  void add(const BlockWeights& w, Role r, size_t slot, const float* weights, Moments& m, Drift& d);

  const Network& net_;
  ThreadPool& pool_;
  MatrixStore x_, floats_;  // the next block's inputs, in the quantised and the float model
  std::vector<Tape> tapes_, float_tapes_;
  std::vector<Matrix> in_, float_in_, out_;
};

}  // namespace minnow::compress
