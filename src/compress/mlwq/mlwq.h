// The compressor proper: calibration, sensitivity, allocation, quantisation block by block.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "compress/imported_model.h"
#include "compress/mlwq/model_weights.h"
#include "compress/mlwq/scheme.h"
#include "compress/quantised.h"

namespace minnow::compress {

enum class Method : uint8_t { mlwq, gptq, rtn };

/// How the bytes of a budget are dealt out.
enum class Budget : uint8_t {
  across,  ///< over all linears, wherever they gain most
  blocks,  ///< every block by its number of weights; within it wherever they gain most
  evenly,  ///< the same widths everywhere
};

struct MlwqOptions {
  Method method = Method::mlwq;
  bool paper = false;  ///< as published: widths 2 and 3, fixed classes, embedding and head as 16-bit floats
  double bits = 4.0;   ///< ceiling: bits of the whole file per parameter
  std::vector<std::string> calibration;  ///< text files; none: text sampled from the model
  std::vector<std::string> held_out;     ///< text files to report the loss on
  uint32_t sequences = 128, length = 2048;
  /// Of so many of the sequences gradients are taken, and the float model's drift is followed; the others are
  /// counted in the second moments, each token once. 0: of all, but in models of above 20 M parameters of no
  /// more than give the widest linear four tokens an input, or 8.
  uint32_t gradients = 0;
  uint64_t seed = 1;
  uint32_t threads = 0;
  std::string checkpoint;               ///< directory that lets an interrupted run resume; empty: none
  uint64_t memory = uint64_t{1} << 30;  ///< bytes for activations; what is beyond goes to a file
  std::string scratch;                  ///< path and beginning of the names of files made meanwhile

  // The method's parts, each with its row in docs/compression.md.
  ClipSearch clip = ClipSearch::weighted;
  uint32_t descents = 3;  ///< rounds over codes and scales after error compensation
  bool compensate = true;
  bool weighted_tokens = true;  ///< tokens count by the gradient they carry
  bool propagate = true;        ///< moments of what the quantised blocks hand on
  /// How much of what earlier blocks have lost a linear makes up for; 0: it only keeps to its own weights.
  double make_up = 0.5;
  Budget budget = Budget::across;
  double damping = 0.01;
  SchemeSpace space;

  StageProgress progress;
};

/// One linear of the result, for reports.
struct LinearSummary {
  std::string name, slabs;
  uint64_t bytes = 0, weights = 0;
  double predicted_loss = 0.0;  ///< nats per token
};

/// What another budget would have given.
struct CurvePoint {
  double bits = 0.0, loss = 0.0;
};

struct QuantisedModel {
  QuantisedSet linears;    ///< what the packer takes
  ImportedModel model;     ///< the model with its channels reordered as `linears` has them
  uint32_t sequences = 0;  ///< of calibration, those really used
  HeldOut after;           ///< tokens 0: no held-out text was given
  std::vector<LinearSummary> summary;
  std::vector<CurvePoint> curve;
  std::vector<std::pair<std::string, double>> seconds;  ///< by stage
};

/// Writes a file to measure its size; what compress_model() makes of a set of linears.
using MeasureFile = std::function<Result<uint64_t>(const ImportedModel& model, const QuantisedSet& linears)>;

Result<QuantisedModel> quantise_model(const ImportedModel& model, const MlwqOptions& options,
                                      const MeasureFile& measure);

}  // namespace minnow::compress
