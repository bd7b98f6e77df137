#include "base/scratch_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/vfs.h>
#endif

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "base/checked.h"
#include "base/file.h"

namespace minnow {
namespace {

uint64_t page_bytes() {
  static const auto bytes = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

/// File systems whose files are memory.
bool lies_in_memory([[maybe_unused]] int fd) {
#if defined(__linux__)
  constexpr uint32_t kTmpfs = 0x01021994, kRamfs = 0x858458f6;
  struct statfs s {};
  if (::fstatfs(fd, &s) != 0) return false;
  const auto type = static_cast<uint32_t>(s.f_type);
  return type == kTmpfs || type == kRamfs;
#else
  return false;
#endif
}

/// Makes the file so long and takes the room now: a page written later cannot find the disk full.
/// Returns an errno, 0 if done.
int reserve(int fd, uint64_t size) {
#if defined(__APPLE__)
  return ::ftruncate(fd, static_cast<off_t>(size)) == 0 ? 0 : errno;
#else
  int error = 0;
  do {
    error = ::posix_fallocate(fd, 0, static_cast<off_t>(size));
  } while (error == EINTR);
  if (error != EOPNOTSUPP && error != ENOSYS) return error;
  // bionic does not do what glibc does where the file system cannot: write it.
  static constexpr char kZeros[1 << 16] = {};
  for (uint64_t at = 0; at < size;) {
    const ssize_t n =
        ::pwrite(fd, kZeros, std::min<uint64_t>(sizeof kZeros, size - at), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n < 0 ? errno : ENOSPC;
    at += static_cast<uint64_t>(n);
  }
  return 0;
#endif
}

}  // namespace

Result<int> open_nameless(const std::string& directory) {
  const std::string where = directory.empty() ? "." : directory;
#ifdef O_TMPFILE
  if (const int fd = ::open(where.c_str(), O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600); fd >= 0) return fd;
#endif
  std::string name = where + "/minnow-XXXXXX";
  const int fd = ::mkostemp(name.data(), O_CLOEXEC);
  if (fd < 0) {
    const int err = errno;
    return fail(err == ENOENT ? Code::not_found : Code::io, "cannot make a file in '", where,
                "': ", os_error(err));
  }
  if (::unlink(name.c_str()) != 0) {
    const int err = errno;
    ::close(fd);
    return fail(Code::io, "cannot unlink '", name, "': ", os_error(err));
  }
  return fd;
}

ScratchFile& ScratchFile::operator=(ScratchFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(fd_, other.fd_);
  std::swap(directory_, other.directory_);
  std::swap(guard_, other.guard_);
  return *this;
}

ScratchFile::~ScratchFile() {
  guard_ = FaultGuard();  // before its addresses can be somebody else's
  if (data_ != nullptr) ::munmap(data_, size_);
  if (fd_ >= 0) ::close(fd_);
}

Result<ScratchFile> ScratchFile::create(const std::string& directory, uint64_t size, const char* what) {
  ScratchFile out;
  if (size == 0) return out;
  out.directory_ = directory;
  auto opened = open_nameless(directory);
  if (!opened.ok()) return std::move(opened).status().within(what);
  out.fd_ = *opened;
  if (lies_in_memory(out.fd_)) {
    return fail(Code::invalid_argument, what, ": '", directory,
                "' lies in memory (tmpfs), which a file there would not save; give a directory on a disk");
  }
  struct statvfs disk {};
  const bool known = ::fstatvfs(out.fd_, &disk) == 0 && disk.f_blocks != 0;
  // Free blocks of all kinds first, so that a disk is not filled to the brim only to fail.
  const uint64_t block = disk.f_frsize;
  int error = known && size / block > disk.f_bfree ? ENOSPC : 0;
  if (error == 0) error = reserve(out.fd_, size);
  if (error != 0) {
    return fail(Code::io, what, ": cannot reserve ", size, " bytes in '", directory, "': ", os_error(error),
                known ? cat("; ", block * disk.f_bavail, " bytes are free there") : "",
                "; make room, or give another directory");
  }
  void* map = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, out.fd_, 0);
  if (map == MAP_FAILED) {
    const int err = errno;
    return fail(err == ENOMEM ? Code::no_memory : Code::io, what, ": cannot map ", size, " bytes in '",
                directory, "': ", os_error(err));
  }
  out.data_ = static_cast<std::byte*>(map);
  out.size_ = size;
#ifdef MADV_DONTFORK
  ::madvise(map, size, MADV_DONTFORK);  // a child's writes would be the parent's
#endif
  MINNOW_ASSIGN(out.guard_, FaultGuard::create(map, round_up(size, page_bytes())));
  return out;
}

void ScratchFile::look_for_lost_writes() const {
#if defined(__linux__) && (!defined(__ANDROID__) || __ANDROID_API__ >= 26)
  if (fd_ < 0) return;
  // Waits for the writes of a range and tells of errors anywhere in the file. Behind the end there are none
  // to wait for.
  const auto behind = static_cast<off_t>(round_up(size_, page_bytes()));
  if (::sync_file_range(fd_, behind, 1, SYNC_FILE_RANGE_WAIT_BEFORE) != 0 &&
      (errno == EIO || errno == ENOSPC || errno == EDQUOT)) {
    guard_.mark();
  }
#endif
}

void ScratchFile::ask_for(uint64_t offset, uint64_t stride, std::span<const uint32_t> elements) const {
  if (elements.empty() || data_ == nullptr) return;
  constexpr uint64_t kPages = 4096;  // looked at together
  unsigned char in_core[kPages];
  const uint64_t page = page_bytes();
  const uint64_t end = ceil_div(offset + (uint64_t{elements.back()} + 1) * stride, page);
  for (size_t i = 0; i < elements.size();) {
    const uint64_t first = (offset + elements[i] * stride) / page, count = std::min(kPages, end - first);
    std::byte* const base = data_ + first * page;
#if defined(__APPLE__)
    if (::mincore(base, count * page, reinterpret_cast<char*>(in_core)) != 0) return;
#else
    if (::mincore(base, count * page, in_core) != 0) return;
#endif
    const bool all = std::all_of(in_core, in_core + count, [](unsigned char c) { return (c & 1) != 0; });
    // A run of pages that are wanted and not there; asked for once the next is not beside it.
    uint64_t run = 0, run_end = 0;
    const auto ask = [&] {
      if (run_end > run) ::madvise(base + run * page, (run_end - run) * page, MADV_WILLNEED);
    };
    const size_t began = i;
    if (all) {  // on behind the last element that ends in what was looked at
      const uint64_t whole = ((first + count) * page - offset) / stride;
      i = static_cast<size_t>(
          std::lower_bound(elements.begin() + static_cast<ptrdiff_t>(i) + 1, elements.end(), whole) -
          elements.begin());
      continue;
    }
    for (; i < elements.size(); ++i) {
      const uint64_t at = offset + elements[i] * stride;
      const uint64_t p0 = at / page - first, p1 = (at + stride - 1) / page - first + 1;
      if (p1 > count && i > began) break;  // begins the next look
      for (uint64_t p = std::max(p0, run_end); p < std::min(p1, count); ++p) {
        if ((in_core[p] & 1) != 0) continue;
        if (p != run_end) ask(), run = p;
        run_end = p + 1;
      }
    }
    ask();
  }
}

}  // namespace minnow
