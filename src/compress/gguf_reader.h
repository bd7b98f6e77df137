// Reads the GGUF container, versions 2 and 3: metadata, tensor directory, data section.
//
// Goals: every view handed out lies inside the file, whatever the file says; arrays of 150,000 strings
// cost one pass. Non-goals: writing, big-endian files, decoding of quantised blocks.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace minnow::compress {

/// Types of metadata values, numbered as in the file.
enum class GgufType : uint32_t {
  u8 = 0,
  i8 = 1,
  u16 = 2,
  i16 = 3,
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12,
};

/// A metadata value where it lies in the file.
struct GgufValue {
  GgufType type = GgufType::u8;
  GgufType element = GgufType::u8;   ///< arrays only
  uint64_t count = 1;                ///< elements
  std::span<const std::byte> bytes;  ///< the elements as stored; of a string, without its length
};

struct GgufTensor {
  std::string_view name;
  std::array<uint64_t, 4> dims = {1, 1, 1, 1};  ///< dims[0] is contiguous (ggml's order)
  uint32_t dim_count = 0;
  uint32_t type = 0;    ///< ggml's number; see ggml_type_info
  uint64_t offset = 0;  ///< from the start of the data section
  uint64_t elements = 0;
  uint64_t size = 0;  ///< bytes; 0 if the type is unknown
};

struct GgmlTypeInfo {
  const char* name;
  uint32_t block;  ///< elements a block
  uint32_t bytes;  ///< bytes a block
};
/// Nothing for numbers that this version does not know.
std::optional<GgmlTypeInfo> ggml_type_info(uint32_t type);

/// Owns the mapping that its views point into. Move-only, immutable, thread-safe.
class GgufReader {
 public:
  static Result<GgufReader> open(const std::string& path);
  static Result<GgufReader> parse(MappedFile file);

  const GgufValue* find(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }

  /// Values by key. Errors: not_found, corrupt (another type), both with the key. The integer and the
  /// number forms accept any numeric type that holds the value exactly.
  Result<std::string_view> string(std::string_view key) const;
  Result<int64_t> integer(std::string_view key) const;
  Result<double> number(std::string_view key) const;
  Result<bool> boolean(std::string_view key) const;
  Result<std::vector<std::string_view>> strings(std::string_view key) const;
  Result<std::vector<int64_t>> integers(std::string_view key) const;
  Result<std::vector<float>> floats(std::string_view key) const;

  std::span<const std::string_view> keys() const { return keys_; }
  std::span<const GgufTensor> tensors() const { return tensors_; }
  const GgufTensor* find_tensor(std::string_view name) const;
  /// The stored bytes. Errors: unsupported, for a type that this version does not know.
  Result<std::span<const std::byte>> data(const GgufTensor& tensor) const;

  uint32_t version() const { return version_; }
  uint64_t alignment() const { return alignment_; }
  void forget() const { file_.forget(); }  ///< MappedFile::forget()

 private:
  Status read();
  Status read_metadata(class GgufCursor& in, uint64_t count);
  Status read_tensors(class GgufCursor& in, uint64_t count);
  Status check_layout() const;
  Result<const GgufValue*> need(std::string_view key, bool array) const;

  MappedFile file_;
  uint32_t version_ = 0;
  uint64_t alignment_ = 32;
  uint64_t data_begin_ = 0;
  std::vector<std::string_view> keys_;
  std::unordered_map<std::string_view, GgufValue> values_;
  std::vector<GgufTensor> tensors_;
  std::unordered_map<std::string_view, size_t> tensor_index_;
};

}  // namespace minnow::compress
