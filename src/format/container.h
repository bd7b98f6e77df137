// The .mnw container: opens a file, checks every offset once, and hands out typed spans.
//
// Goals: after open() succeeded, every span handed out lies inside the file and everything small has
// been looked at; nothing is copied but the metadata. For any bytes open() returns, in bounded time
// and memory, a container or an error.
// Non-goals: whether the shapes fit the architecture (model/weights.h), checksums of large segments
// (verify.h).
//
// Layout of the file (little-endian):
//   0   8  magic 89 'M' 'N' 'W' 0d 0a 1a 0a
//   8   4  schema version     12  4  header size (64)
//   16  8  metadata offset    24  8  metadata size    32  8  XXH3-64 of the metadata
//   40  8  file size          48  8  zero             56  8  XXH3-64 of bytes 0..55
// then segments, then the metadata (a FlatBuffer, schema/model.fbs), in any order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/file.h"
#include "base/status.h"
#include "format/metadata.h"

namespace minnow::format {

inline constexpr uint8_t kMagic[8] = {0x89, 'M', 'N', 'W', 0x0d, 0x0a, 0x1a, 0x0a};
inline constexpr uint64_t kHeaderSize = 64;

struct Header {
  uint8_t magic[8];
  uint32_t version, header_size;
  uint64_t metadata_offset, metadata_size, metadata_checksum;
  uint64_t file_size, reserved, header_checksum;
};
static_assert(sizeof(Header) == kHeaderSize);

/// XXH3, 64 bits.
uint64_t checksum(std::span<const std::byte> bytes);

/// Immutable after open(), thread-safe. Move-only; spans stay valid while it lives.
class Container {
 public:
  /// `file` must start at a multiple of 64 bytes in memory (mappings of whole files do).
  static Result<Container> open(MappedFile file);

  const Metadata& metadata() const { return metadata_; }
  std::span<const std::byte> segment(uint32_t index) const;
  /// The elements of a tensor; empty when it is absent. The dtype was checked by open().
  std::span<const float> floats(const TensorRef& t) const;
  const uint8_t* bytes(const TensorRef& t) const;
  std::span<const uint32_t> uints(const TensorRef& t) const;
  /// Empty when the file carries no tokenizer.
  std::span<const std::byte> tokenizer() const;
  uint64_t file_size() const { return file_.size(); }
  uint64_t metadata_size() const { return metadata_size_; }

 private:
  MappedFile file_;
  Metadata metadata_;
  uint64_t metadata_size_ = 0;
};

}  // namespace minnow::format
