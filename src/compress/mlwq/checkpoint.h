// What a long compression leaves on disk as it goes, so that an interrupted one resumes: a directory of
// files that appear whole or not at all. Each file carries a key of everything its contents depend on;
// one with another key is as good as none.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "compress/mlwq/propagation.h"
#include "compress/mlwq/scheme.h"
#include "compress/mlwq/sensitivity.h"
#include "compress/quantised.h"

namespace minnow::compress {

/// What calibration found of one linear, all that later stages need of it.
struct CalibratedLinear {
  LinearSensitivity sensitivity;  // its moments only where no propagated ones take their place
  std::vector<double> salience;   // (cols)
  std::vector<Candidate> candidates;
  double rise = 0.0;  // --paper: how much more MLWQ's Dist is at 2 bits than at 3
};
struct CalibratedBlock {
  std::array<CalibratedLinear, kRoles> linear;
  TokenWeights token_weights;
};
struct CalibratedEnds {
  EndSensitivity sensitivity;
  CalibratedLinear embedding, head;
};

class Checkpoint {
 public:
  /// An empty `directory` keeps nothing. It is made when something is first kept.
  explicit Checkpoint(std::string directory) : directory_(std::move(directory)) {}

  std::optional<CalibratedBlock> block(uint64_t key, size_t index) const;
  Status keep(uint64_t key, size_t index, const CalibratedBlock& block) const;
  std::optional<CalibratedEnds> ends(uint64_t key) const;
  Status keep(uint64_t key, const CalibratedEnds& ends) const;

  std::optional<QuantisedLinear> linear(uint64_t key, size_t index) const;
  Status keep(uint64_t key, size_t index, const QuantisedLinear& linear) const;

  /// Removes the directory and what this class wrote to it.
  void remove() const;

 private:
  Status write(const std::string& name, uint64_t key, const std::string& bytes) const;
  std::optional<std::string> read(const std::string& name, uint64_t key) const;

  std::string directory_;
};

/// Hashes bytes on top of `key`.
uint64_t add_to_key(uint64_t key, const void* bytes, size_t size);

}  // namespace minnow::compress
