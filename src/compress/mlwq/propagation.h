// Calibration's sequences on their way through the quantised model, and through the float model beside it: a
// linear's second moments are those of what the quantised linears before it hand on, and it is told how far
// that has drifted.
#pragma once

#include <array>

#include "compress/mlwq/factor.h"
#include "compress/mlwq/model_weights.h"

namespace minnow::compress {

/// [sequence][role][token]; the tokens of sequences it does not have count once each.
using TokenWeights = std::vector<std::array<std::vector<float>, kRoles>>;

class Propagation {
 public:
  /// The hidden states before the first block. `floats`: the embedding before it was quantised, or null where
  /// no drift is wanted; the first `drifting` sequences are followed in the float model too. Memory: two
  /// matrices a sequence and model, in the spill.
  static Result<Propagation> start(const Network& net, const ModelEnds& ends, const Matrix* floats,
                                   SequenceSpan sequences, size_t drifting, ThreadPool& pool, Spill& spill);

  bool drifts() const { return drifts(0); }
  /// What the linears of a step get to see.
  struct Seen {
    std::array<Moments, kRoles> followed;  // of the sequences that have weights or are followed for drift
    Moments others;                        // of all others; the linears of a step have one input
    std::array<Drift, kRoles> drift;
  };
  /// Takes the sequences to the inputs of a step of the block and adds up what `roles`, all of that step, get
  /// to see there. In `w` the linears of the steps before are quantised; `floats` is the block as it was
  /// (looked at only where there is drift). For each step in turn, also without roles.
  Result<Seen> gather(Step step, const BlockWeights& w, const BlockWeights& floats,
                      std::span<const Role> roles, const TokenWeights* weights);
  /// Takes the sequences behind the block, all of whose steps were gathered.
  Status leave(const BlockWeights& w, const BlockWeights& floats);

 private:
  /// The sequences in one of the models.
  struct Stream {
    MatrixStore x;     // the block's input; behind attention_out the residual with the attention's branch
    MatrixStore side;  // what a step left for the next beside it: attn, ffn_in, inner
    std::vector<Tape> tapes;
    std::vector<Matrix> in, out;  // a sequence at hand each, by slot
  };

  Propagation(const Network& net, ThreadPool& pool) : net_(net), pool_(pool) {}
  Status arrive(Step step, const BlockWeights& w, Stream& stream, size_t sequence, size_t slot) const;
  Status leave(const BlockWeights& w, Stream& stream, size_t sequence, size_t slot) const;
  bool drifts(size_t sequence) const { return sequence < floats_.x.count(); }
  /// Adds how far a linear's inputs and residual have drifted in the sequence at `slot`.
  void add_drifts(const BlockWeights& w, Role r, size_t slot, const float* weights, Drift& d);

  const Network& net_;
  ThreadPool& pool_;
  Stream quantised_, floats_;
};

}  // namespace minnow::compress
