// A file of at most so many bits a parameter: calibration, MLWQ (or a plainer method), packing.
#pragma once

#include <string>

#include "compress/additions.h"
#include "compress/compress.h"
#include "compress/mlwq/mlwq.h"

namespace minnow::compress {

struct BudgetReport {
  CompressReport file;
  uint32_t sequences = 0;       ///< of calibration, those really used
  HeldOut held_out;             ///< tokens 0: no held-out text was given
  double predicted_loss = 0.0;  ///< nats per token
  std::vector<LinearSummary> linears;
  std::vector<CurvePoint> curve;                        ///< predicted loss over budgets
  std::vector<std::pair<std::string, double>> seconds;  ///< of each stage
};

/// Writes `path`, complete or not at all, never larger than `mlwq.bits` allows. Interrupted (progress said
/// stop, or the process was killed), it leaves `path`.resume behind, and the next call with the same model
/// and options goes on from there. What is added is paid from the same budget.
Result<BudgetReport> compress_to_budget(const ImportedModel& model, const MlwqOptions& mlwq,
                                        const CompressOptions& options, const Additions& additions,
                                        const std::string& path);

}  // namespace minnow::compress
