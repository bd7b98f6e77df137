// Files: read-only mappings and writes that appear whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/status.h"

namespace minnow {

/// A read-only view of bytes that live in a mapped file or in memory owned by the caller.
/// Move-only; the mapping ends with the object. Thread-safe to read.
class MappedFile {
 public:
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept { *this = static_cast<MappedFile&&>(other); }
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  /// Maps a whole regular file. Errors: not_found, io (no permission, a directory, a device).
  static Result<MappedFile> open(const std::string& path);
  /// Maps [offset, offset + length) of an open descriptor; the descriptor stays the caller's.
  /// `offset` needs no page alignment. length 0 means up to the end of the file.
  static Result<MappedFile> from_fd(int fd, uint64_t offset, uint64_t length, const std::string& name);
  /// A view of memory that the caller keeps alive; nothing is copied.
  static MappedFile from_memory(std::span<const std::byte> bytes);

  std::span<const std::byte> bytes() const { return bytes_; }
  const uint8_t* data() const { return reinterpret_cast<const uint8_t*>(bytes_.data()); }
  uint64_t size() const { return bytes_.size(); }
  /// Takes mapped pages that were read out of the process's memory; reading brings them back. Nothing where
  /// the memory is the caller's.
  void forget() const;

 private:
  void* map_ = nullptr;
  size_t map_size_ = 0;
  std::span<const std::byte> bytes_;
};

/// What the system says of an errno.
std::string os_error(int error);

/// Is there anything of that name?
bool file_exists(const std::string& path);

/// Reads a whole regular file into a string, refusing more than `limit` bytes.
Result<std::string> read_text_file(const std::string& path, uint64_t limit);

/// Writes a file that appears under its final name only when commit() succeeds: bytes go to
/// "<path>.partial.<pid>", which the destructor removes unless committed. Not thread-safe.
class AtomicFileWriter {
 public:
  AtomicFileWriter() = default;
  AtomicFileWriter(AtomicFileWriter&& other) noexcept { *this = static_cast<AtomicFileWriter&&>(other); }
  AtomicFileWriter& operator=(AtomicFileWriter&& other) noexcept;
  AtomicFileWriter(const AtomicFileWriter&) = delete;
  AtomicFileWriter& operator=(const AtomicFileWriter&) = delete;
  ~AtomicFileWriter();

  static Result<AtomicFileWriter> create(const std::string& path);
  Status write(std::span<const std::byte> bytes);
  /// Overwrites bytes already written (the header, once all offsets are known).
  Status write_at(uint64_t offset, std::span<const std::byte> bytes);
  /// Appends zero bytes until position() is a multiple of `alignment` (a power of two).
  Status pad_to(uint64_t alignment);
  uint64_t position() const { return position_; }
  /// Flushes to the medium and renames to the final name.
  Status commit();

 private:
  int fd_ = -1;
  uint64_t position_ = 0;
  std::string path_, temporary_;
};

}  // namespace minnow
