// Text of the model's own, for calibration without data.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/thread_pool.h"
#include "compress/imported_model.h"
#include "compress/mlwq/calibration.h"
#include "model/plan.h"

namespace minnow::compress {

struct SampleOptions {
  uint32_t count = 0, length = 0;  ///< sequences, tokens of each
  uint64_t seed = 1;
  uint64_t memory = uint64_t{1} << 30;  ///< bytes of KV cache, which decide how many grow at a time
  /// False cancels.
  std::function<bool(uint64_t done, uint64_t total)> progress;
};

/// Sequences drawn at temperature 1 by the runtime, each made of pieces of 512 tokens that start anew, with
/// `bos` (below 0: with any token). The same options give the same tokens on one machine. Errors: cancelled;
/// no memory; logits that are not finite.
Result<Sequences> sample_sequences(const model::Plan& plan, int32_t bos, const SampleOptions& options,
                                   ThreadPool& pool);

/// The same from floats, by way of a file of 8-bit weights at `path`, which goes as soon as it is open.
/// Errors: those, and what writing a file can meet.
Result<Sequences> sample_sequences(const ImportedModel& model, const SampleOptions& options,
                                   const std::string& path, ThreadPool& pool);

}  // namespace minnow::compress
