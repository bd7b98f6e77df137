// Takes tensors out of a source by name, checks their shapes, and remembers what was taken, so that a
// tensor nobody understood stops the import instead of being dropped.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "base/status.h"
#include "compress/imported_model.h"

namespace minnow::compress {

/// What the config says of a bias. A bias that it denies stays untaken, so finish() refuses it by name.
enum class Bias : uint8_t { none, required, optional };

class TensorPicker {
 public:
  TensorPicker(const TensorSource& source, std::string where) : source_(source), where_(std::move(where)) {}

  bool has(const std::string& name) const { return source_.find(name) != nullptr; }
  /// A tensor that is known and not needed.
  void ignore(const std::string& name) { used_.insert(name); }

  /// A (rows, cols) matrix, or rows [first, first + rows) of one with `total` rows.
  Status matrix(RowSource& out, const std::string& name, uint32_t rows, uint32_t cols, uint32_t first = 0,
                uint32_t total = 0);
  /// `name`.weight and `name`.bias.
  Status linear(ImportedLinear& out, const std::string& name, uint32_t rows, uint32_t cols, Bias bias);
  /// Rows [first, first + rows) of the fused linear `name` with `total` rows.
  Status fused(ImportedLinear& out, const std::string& name, const std::string& part, uint32_t rows,
               uint32_t cols, uint32_t first, uint32_t total, Bias bias);
  /// A vector of `count` floats.
  Status vector(std::vector<float>& out, const std::string& name, uint64_t count);
  /// A (rows, cols) table of floats, read whole.
  Status table(std::vector<float>& out, const std::string& name, uint64_t rows, uint64_t cols);
  /// `name`.weight and `name`.bias; `offset` is added to the weights (Gemma stores w - 1).
  Status norm(ImportedNorm& out, const std::string& name, uint32_t count, Bias bias, float offset = 0.0f);

  /// Refuses tensors that were neither taken nor ignored.
  Status finish() const;
  /// Elements of all tensors taken, each once.
  uint64_t elements() const;

 private:
  Status floats(std::vector<float>& out, const std::string& name, const std::vector<uint64_t>& shape);
  const TensorSource& source_;
  std::string where_;
  std::set<std::string> used_;
  std::set<std::string> counted_;
};

}  // namespace minnow::compress
