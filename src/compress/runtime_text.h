// A .mnw file opened for calibration with the runtime, and the tokens to run through it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "compress/mlwq/calibration.h"
#include "format/container.h"
#include "model/plan.h"
#include "model/weights.h"
#include "text/tokenizer.h"

namespace minnow::compress {

/// The parts point at each other: it moves as a whole.
struct OpenModel {
  std::unique_ptr<format::Container> container;
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<model::Weights> weights;
  /// Errors name the file.
  static Result<OpenModel> open(const std::string& path, uint32_t threads);
};

/// Errors: the model has no tokenizer.
Result<std::unique_ptr<const text::Tokenizer>> tokenizer_of(const format::Container& container);

struct RuntimeText {
  std::vector<std::string> files;   ///< none: text sampled from the model
  uint32_t tokens = 0, length = 0;  ///< in all; of a sequence
  uint64_t seed = 1;
  std::function<bool(uint64_t done, uint64_t total)> progress;  ///< of sampling; false cancels
};
Result<Sequences> runtime_text(const OpenModel& model, const model::Plan& plan, const RuntimeText& text);

}  // namespace minnow::compress
