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

struct MlwqOptions {
  Method method = Method::mlwq;
  double bits = 4.0;         ///< ceiling: bits of the whole file per parameter
  uint64_t fixed_bytes = 0;  ///< bytes of the file that are no linear's codes, scales, zeros
  std::vector<std::string> calibration, held_out;
  uint32_t sequences = 128, sensitivity_sequences = 32, length = 2048;
  uint64_t seed = 1;
  uint32_t threads = 0;
  double damping = 0.01;
  uint32_t descents = 3;
  bool weighted_tokens = true;  ///< weigh each token by its gradient
  bool propagate = true;        ///< moments from what the quantised blocks before hand on
  ClipSearch clip = ClipSearch::weighted;
  SchemeSpace space;
  StageProgress progress;
  std::function<void(const std::string&)> log;
};

/// A quantised linear in place: which layer and role (layer -1: embedding, head and projections).
struct QuantisedModel {
  std::vector<std::array<QuantisedLinear, kRoles>> blocks;
  QuantisedLinear embedding, head, in, out;
  ModelWeights values;  ///< what the codes stand for, in the model's own channel order
  HeldOut before, after;
};

Result<QuantisedModel> quantise_model(const ImportedModel& model, const MlwqOptions& options);

}  // namespace minnow::compress
