// Room on a disk in place of memory: a file without a name, mapped for reading and writing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/fault_guard.h"
#include "base/status.h"

namespace minnow {

/// Opens a new empty file in `directory` ("" is the current one) for reading and writing that has no name,
/// so that it is gone once it is closed, however the process ends. Where the file system cannot do that, it
/// has a name for the moment between making and unlinking it. The descriptor is the caller's.
/// Errors: not_found (no such directory), io.
Result<int> open_nameless(const std::string& directory);

/// Owns `size` bytes of such a file, zero at first. Pages of it are the system's to write to the disk and to
/// take out of memory. A page that cannot be read or written becomes zeros and marks the file as failed
/// (base/fault_guard.h). Move-only; the data may be used as memory may, by any thread. Not for use in a
/// forked child, where its pages are not mapped.
class ScratchFile {
 public:
  ScratchFile() = default;
  ScratchFile(ScratchFile&& other) noexcept { *this = std::move(other); }
  ScratchFile& operator=(ScratchFile&& other) noexcept;
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  ~ScratchFile();

  /// Makes the file and reserves its room on the disk. `what` names its contents in errors.
  /// Errors: not_found (no such directory), invalid_argument (it lies in memory: tmpfs), io (no permission,
  /// no room), no_memory (no addresses to map it at).
  static Result<ScratchFile> create(const std::string& directory, uint64_t size, const char* what);

  std::byte* data() const { return data_; }
  uint64_t size() const { return size_; }
  const std::string& directory() const { return directory_; }
  bool failed() const { return guard_.failed(); }
  /// Pages are written to the disk behind their writer's back. This asks the system whether one could not be,
  /// and then marks the file as failed; a system call that waits for nothing. Linux only; Android from 8 on.
  void look_for_lost_writes() const;

  /// Asks the system for what is not in memory of an array in the file: elements of `stride` bytes, the first
  /// one `offset` bytes behind the start; `elements` ascend. Does not wait for it, allocates nothing. At best
  /// an advice: where the system does not say what is in memory, nothing happens.
  void ask_for(uint64_t offset, uint64_t stride, std::span<const uint32_t> elements) const;

 private:
  std::byte* data_ = nullptr;
  uint64_t size_ = 0;
  int fd_ = -1;
  std::string directory_;
  FaultGuard guard_;
};

}  // namespace minnow
