// Writes a .mnw file: segments as they come, metadata and header at the end. The file appears under
// its name only after finish(), complete. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/file.h"
#include "base/status.h"
#include "format/metadata.h"

namespace minnow::format {

class Writer {
 public:
  static Result<Writer> create(const std::string& path);
  Writer(Writer&&) noexcept;
  Writer& operator=(Writer&&) noexcept;
  ~Writer();

  /// Starts a segment; `large` ones start on a page. One segment is open at a time.
  Status begin_segment(SegmentKind kind, bool large);
  /// Offset, within the open segment, at which append() will write; a multiple of `alignment`.
  Result<uint64_t> align(uint64_t alignment);
  Status append(std::span<const std::byte> bytes);
  /// Ends the segment and returns its index. Those of weights and of
  /// codebooks get kSlabSlack bytes at their end.
  Result<uint32_t> end_segment();

  /// Writes metadata (with the segments written so far) and header, and commits the file.
  Status finish(Metadata metadata);
  uint64_t bytes_written() const;

 private:
  struct State;
  explicit Writer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace minnow::format
