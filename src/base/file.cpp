#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/checked.h"

namespace minnow {

std::string os_error(int error) {
  char buffer[128] = {};
#if defined(__GLIBC__) && defined(_GNU_SOURCE)
  return strerror_r(error, buffer, sizeof buffer);
#else
  return strerror_r(error, buffer, sizeof buffer) == 0 ? buffer : "unknown error";
#endif
}

namespace {

Result<int> open_regular(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    const int err = errno;
    return fail(err == ENOENT ? Code::not_found : Code::io, "cannot open '", path, "': ", os_error(err));
  }
  struct stat st {};
  if (::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
    ::close(fd);
    const char* what = S_ISDIR(st.st_mode) ? "a directory" : "not a regular file";
    return fail(Code::io, "cannot read '", path, "': it is ", what, "; give the path of a file");
  }
  return fd;
}

}  // namespace

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this == &other) return *this;
  if (map_ != nullptr) ::munmap(map_, map_size_);
  map_ = std::exchange(other.map_, nullptr);
  map_size_ = std::exchange(other.map_size_, 0);
  bytes_ = std::exchange(other.bytes_, {});
  return *this;
}

MappedFile::~MappedFile() {
  if (map_ != nullptr) ::munmap(map_, map_size_);
}

Result<MappedFile> MappedFile::open(const std::string& path) {
  MINNOW_ASSIGN(const int fd, open_regular(path));
  auto mapped = from_fd(fd, 0, 0, path);
  ::close(fd);
  return mapped;
}

Result<MappedFile> MappedFile::from_fd(int fd, uint64_t offset, uint64_t length, const std::string& name) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return fail(Code::io, "cannot stat '", name, "': ", os_error(errno));
  if (!S_ISREG(st.st_mode)) return fail(Code::io, "cannot map '", name, "': it is not a regular file");
  const auto file_size = static_cast<uint64_t>(st.st_size);
  if (offset > file_size) {
    return fail(Code::invalid_argument, "'", name, "' has ", file_size, " bytes, offset ", offset,
                " lies behind its end");
  }
  if (length == 0) length = file_size - offset;
  if (!range_fits(offset, length, file_size)) {
    return fail(Code::invalid_argument, "'", name, "' has ", file_size, " bytes, too few for offset ", offset,
                " and length ", length);
  }
  MappedFile out;
  if (length == 0) return out;  // mmap refuses empty ranges; readers see an empty span
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t start = offset / page * page;
  const size_t map_size = length + (offset - start);
  void* map = ::mmap(nullptr, map_size, PROT_READ, MAP_PRIVATE, fd, static_cast<off_t>(start));
  if (map == MAP_FAILED) return fail(Code::io, "cannot map '", name, "': ", os_error(errno));
  out.map_ = map;
  out.map_size_ = map_size;
  out.bytes_ = {static_cast<const std::byte*>(map) + (offset - start), length};
  return out;
}

MappedFile MappedFile::from_memory(std::span<const std::byte> bytes) {
  MappedFile out;
  out.bytes_ = bytes;
  return out;
}

void MappedFile::forget() const {
  // Nothing can have been written to these pages, so nothing is lost. A refusal only leaves them where they
  // are.
  if (map_ != nullptr) ::madvise(map_, map_size_, MADV_DONTNEED);
}

bool file_exists(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0;
}

Result<std::string> read_text_file(const std::string& path, uint64_t limit) {
  MINNOW_ASSIGN(const MappedFile file, MappedFile::open(path));
  if (file.size() > limit) {
    return fail(Code::unsupported, "'", path, "' has ", file.size(), " bytes, more than the ", limit,
                " allowed here");
  }
  return std::string(reinterpret_cast<const char*>(file.data()), file.size());
}

AtomicFileWriter& AtomicFileWriter::operator=(AtomicFileWriter&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(position_, other.position_);
  std::swap(path_, other.path_);
  std::swap(temporary_, other.temporary_);
  return *this;
}

AtomicFileWriter::~AtomicFileWriter() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

Result<AtomicFileWriter> AtomicFileWriter::create(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) == 0 && !S_ISREG(st.st_mode)) {
    return fail(Code::io, "cannot write '", path, "': it exists and is not a regular file");
  }
  AtomicFileWriter out;
  out.path_ = path;
  out.temporary_ = cat(path, ".partial.", static_cast<int64_t>(::getpid()));
  out.fd_ = ::open(out.temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (out.fd_ < 0) {
    const int err = errno;
    return fail(Code::io, "cannot create '", out.temporary_, "': ", os_error(err));
  }
  return out;
}

Status AtomicFileWriter::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail(Code::io, "cannot write '", temporary_, "': ", os_error(n < 0 ? errno : ENOSPC));
    bytes = bytes.subspan(static_cast<size_t>(n));
    position_ += static_cast<uint64_t>(n);
  }
  return {};
}

Status AtomicFileWriter::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail(Code::io, "cannot write '", temporary_, "': ", os_error(n < 0 ? errno : ENOSPC));
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return {};
}

Status AtomicFileWriter::pad_to(uint64_t alignment) {
  static constexpr std::byte kZeros[4096] = {};
  uint64_t missing = round_up(position_, alignment) - position_;
  while (missing > 0) {
    const uint64_t n = missing < sizeof kZeros ? missing : sizeof kZeros;
    MINNOW_TRY(write({kZeros, n}));
    missing -= n;
  }
  return {};
}

Status AtomicFileWriter::commit() {
  if (::fsync(fd_) != 0) return fail(Code::io, "cannot flush '", temporary_, "': ", os_error(errno));
  if (::close(std::exchange(fd_, -1)) != 0) {
    const int err = errno;
    ::unlink(temporary_.c_str());
    return fail(Code::io, "cannot close '", temporary_, "': ", os_error(err));
  }
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int err = errno;
    ::unlink(temporary_.c_str());
    return fail(Code::io, "cannot rename '", temporary_, "' to '", path_, "': ", os_error(err));
  }
  return {};
}

}  // namespace minnow
