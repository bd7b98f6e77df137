#include "retrieval/cold_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <vector>

#if defined(__linux__)

namespace minnow::bench {
namespace {

void check(int result, const std::string& what) {
  if (result != 0) throw std::runtime_error(what + ": " + std::strerror(result > 0 ? result : errno));
}

/// Bytes of a mapping that are in memory.
uint64_t bytes_in_memory(void* begin, size_t size) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> pages((size + page - 1) / page);
  check(::mincore(begin, size, pages.data()), "cannot ask what of the KV file is in memory");
  uint64_t in = 0;
  for (const unsigned char p : pages) in += (p & 1u) * page;
  return in;
}

}  // namespace

uint64_t forget_mapped_files(const std::string& directory) {
  const std::string inside = std::filesystem::canonical(directory).string() + "/";
  std::ifstream maps("/proc/self/maps");
  uint64_t bytes = 0;
  for (std::string line; std::getline(maps, line);) {
    const size_t name = line.find(inside);
    if (name == std::string::npos || !line.ends_with(" (deleted)")) continue;
    const std::string range = line.substr(0, line.find(' '));
    const size_t dash = range.find('-');
    const uintptr_t from = std::stoull(range.substr(0, dash), nullptr, 16),
                    to = std::stoull(range.substr(dash + 1), nullptr, 16);
    void* const begin = reinterpret_cast<void*>(from);
    const int file = ::open(("/proc/self/map_files/" + range).c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0)
      throw std::runtime_error("cannot open the KV file again: " + std::string(std::strerror(errno)));
    check(::fsync(file), "cannot write the KV file");
    check(::madvise(begin, to - from, MADV_DONTNEED), "cannot unmap pages of the KV file");
    check(::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED), "cannot drop pages of the KV file");
    ::close(file);
    if (const uint64_t left = bytes_in_memory(begin, to - from); left > (to - from) / 100)
      throw std::runtime_error(std::to_string(left) + " bytes of the KV file stay in memory");
    bytes += to - from;
  }
  return bytes;
}

}  // namespace minnow::bench

#else

namespace minnow::bench {

uint64_t forget_mapped_files(const std::string&) {
  throw std::runtime_error("COLD: how to drop a mapped file's pages is known of Linux alone");
}

}  // namespace minnow::bench

#endif
