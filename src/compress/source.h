// Where weights come from: named tensors in mapped files, read row by row as floats.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"

namespace minnow::compress {

enum class SourceType : uint8_t { f32, f16, bf16, q8_0, q4_0 };

/// Bytes of `count` elements, 0 when the type cannot cut them (blocks of 32).
uint64_t source_bytes(SourceType type, uint64_t count);
const char* name_of(SourceType type);

/// Widens `count` elements (whole blocks) to f32.
void widen(SourceType type, const uint8_t* data, uint64_t count, float* out);

class TensorSource;

/// A tensor in memory owned by its source. Row-major; shape as Hugging Face writes it (rows first).
struct SourceTensor {
  std::string name;
  SourceType type = SourceType::f32;
  std::vector<uint64_t> shape;
  const uint8_t* data = nullptr;
  const TensorSource* owner = nullptr;  // set where it is added
  uint64_t elements() const;
};

/// A set of named tensors, filled by the reader of one file format. Thread-safe to read.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  /// nullptr when there is none of that name.
  const SourceTensor* find(const std::string& name) const {
    const auto it = tensors_.find(name);
    return it == tensors_.end() ? nullptr : &it->second;
  }
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& [name, tensor] : tensors_) out.push_back(name);
    return out;
  }
  /// Gives back the memory that what was read of mapped files takes; it can be read again.
  virtual void forget() const {}

 protected:
  /// False: there is one of that name already.
  bool add(SourceTensor tensor) {
    std::string name = tensor.name;
    tensor.owner = this;
    return tensors_.emplace(std::move(name), std::move(tensor)).second;
  }

 private:
  std::map<std::string, SourceTensor> tensors_;
};

/// Some rows of a matrix in a source, as a linear of its own (fused matrices are split this way).
struct RowSource {
  const SourceTensor* tensor = nullptr;
  uint32_t first_row = 0, rows = 0, cols = 0;
  /// GGUF stores the rotated pairs of q and k side by side; minnow wants them half a head apart.
  uint32_t interleaved_head_dim = 0;  ///< 0: rows as they come

  /// Row `row` as f32 [cols]. Refuses values that are not finite, naming tensor and place.
  Status read(uint32_t row, float* out) const;
  /// TensorSource::forget() of where the rows come from.
  void forget() const {
    if (tensor->owner != nullptr) tensor->owner->forget();
  }
};

}  // namespace minnow::compress
