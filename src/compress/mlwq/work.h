// One linear on its way through the compressor: what it is, how its channels lie, what was found of it.
#pragma once

#include <vector>

#include "compress/mlwq/checkpoint.h"
#include "compress/mlwq/mlwq.h"
#include "compress/mlwq/orders.h"

namespace minnow::compress {

struct Work {
  const ImportedLinear* source = nullptr;
  Role role = Role::q;  // in its block, if it is of one
  CalibratedLinear found;
  const Order* stored = nullptr;               // order of the inputs, where it is free
  const Order* rows = nullptr;                 // order of the outputs, or null
  const Order* file_order = nullptr;           // o only: the order a file with several widths must name
  bool skippable = false, by_channel = false;  // up, down
  size_t chosen = 0;                           // of found.candidates

  uint32_t outputs() const { return source->weight.rows; }
  uint32_t inputs() const { return source->weight.cols; }
  const Candidate& candidate() const { return found.candidates[chosen]; }
  const Scheme& scheme() const { return candidate().scheme; }
  bool gathers(const Scheme& s) const { return file_order != nullptr && s.slabs.size() > 1; }
  format::Layout layout(const Scheme& s) const;
  uint64_t bytes(const Scheme& s) const;
  /// The order of the inputs as the chosen scheme has them.
  const Order& input_order() const { return gathers(scheme()) ? *file_order : *stored; }
  /// Of the outputs; empty: as they come.
  const Order& output_order() const;
};

/// H with its channels in some order, and the factor of its inverse. Both empty for round to nearest, which
/// knows no inputs and so has no moments.
struct Prepared {
  Matrix h;
  Factor factor;
};
/// Of damped() moments.
Result<Prepared> prepare(Result<Matrix> h, ThreadPool& pool);
GptqOptions gptq_options(const MlwqOptions& options, uint32_t descents);

/// Salience, and the loss and size of every way to store the linear. `w` holds its weights; what is found
/// goes to work.found, whose sensitivity is there already.
Status calibrate_linear(Work& work, const Matrix& w, const MlwqOptions& options, ThreadPool& pool);

/// Sensitivity for round to nearest, which knows no calibration: every weight matters as its square does.
LinearSensitivity indifferent(const Matrix& w);

/// What a linear got to see of the calibration.
struct SeenInputs {
  Moments followed, others;  // of the tokens that drift was followed over, and of those beside them
  Drift drift;               // what the linear is to make up for, or empty
};
/// Quantises w (rows in the source's order) by the chosen scheme; w then holds what the codes stand for. What
/// was seen is let go as soon as it is used. What makes up for drift is sought with H of all tokens as long
/// as this cannot take any direction of the inputs past its aim: H of all is at least the followed tokens'
/// share of theirs, so the step is at most make_up over that share. Beyond, with H of the followed tokens.
Result<QuantisedLinear> quantise_work(const Work& work, SeenInputs seen, Matrix& w,
                                      const MlwqOptions& options, ThreadPool& pool);

/// The linear of the chosen scheme with all codes zero: for measuring what a file takes.
QuantisedLinear blank_linear(const Work& work);

/// Of --paper: which candidate is which.
inline constexpr size_t kPaperSplit = 0, kPaperUniform = 1, kPaperDropped = 2;

}  // namespace minnow::compress
