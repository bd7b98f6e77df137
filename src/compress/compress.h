// From an imported model to a .mnw file.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/status.h"
#include "compress/imported_model.h"
#include "compress/quantised.h"

namespace minnow::compress {

/// How a linear's weights are stored.
enum class Storage : uint8_t {
  source16,  ///< 16-bit floats: bf16 where the source is bf16, else f16
  f16,
  bf16,
  f32,
  w8,  ///< unsigned codes around 128 with an f16 scale a group
  w4,  ///< unsigned codes of 4, 3, 2 bits with an f16 scale and a 4-bit zero a group
  w3,
  w2,
};

struct CompressOptions {
  Storage storage = Storage::w8;
  Storage head_storage = Storage::w8;       ///< embedding and output head
  uint32_t group = 64;                      ///< channels that share a scale: 32, 64 or 128
  uint32_t threads = 0;                     ///< 0: all performance cores
  const QuantisedSet* quantised = nullptr;  ///< linears found in it are packed as they are there
  std::string settings;                     ///< JSON for the file's provenance; empty: from the options
  std::string chat_format;                  ///< empty: as recognised from the template
  /// Called now and then from the calling thread; false cancels.
  std::function<bool(const char* stage, uint64_t done, uint64_t total)> progress;
};

struct CompressReport {
  uint64_t file_bytes = 0, parameters = 0;
  double bits_per_parameter() const {
    return parameters == 0 ? 0.0 : static_cast<double>(file_bytes) * 8.0 / static_cast<double>(parameters);
  }
};

/// Writes `path`, complete or not at all. The model's tensors must be finite; errors name the tensor.
Result<CompressReport> compress_model(const ImportedModel& model, const CompressOptions& options,
                                      const std::string& path);

}  // namespace minnow::compress
