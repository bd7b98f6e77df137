// A directory on a disk, and what a process does with files in it.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "support/environment.h"

namespace minnow::testing {

/// A directory of its own on a disk (temporary files may lie in memory), removed at the end. `path()` is ""
/// where there is none.
class DiskDir {
 public:
  DiskDir() {
    std::error_code ignored;
    for (const std::filesystem::path& base :
         {std::filesystem::temp_directory_path(), std::filesystem::path("/var/tmp"),
          std::filesystem::current_path(ignored)}) {
      std::string pattern = (base / "minnow-disk-XXXXXX").string();
      if (mkdtemp(pattern.data()) == nullptr) continue;
      struct statfs s {};
      constexpr auto kTmpfs = 0x01021994u;
      if (::statfs(pattern.c_str(), &s) == 0 && static_cast<uint32_t>(s.f_type) != kTmpfs) {
        path_ = pattern;
        return;
      }
      std::filesystem::remove(pattern, ignored);
    }
  }
  ~DiskDir() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  DiskDir(const DiskDir&) = delete;
  DiskDir& operator=(const DiskDir&) = delete;
  const std::string& path() const { return path_; }
  bool empty() const { return std::filesystem::is_empty(path_); }

 private:
  std::string path_;
};

#define MINNOW_NEEDS_DISK(name)          \
  const ::minnow::testing::DiskDir name; \
  if ((name).path().empty()) GTEST_SKIP() << "no directory here lies on a disk"

/// Descriptors of this process's files in a directory that have no name any more.
inline std::vector<int> nameless_files(const std::string& directory) {
  std::vector<int> out;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", error)) {
    const std::string target = std::filesystem::read_symlink(entry.path(), error).string();
    if (target.starts_with(directory + "/") && target.ends_with(" (deleted)"))
      out.push_back(std::stoi(entry.path().filename().string()));
  }
  return out;
}

/// Puts what is mapped of a file on the disk and takes it out of memory, as far as the system does so.
inline void drop_from_memory(int fd, void* data, size_t size) {
  ::fsync(fd);
  ::madvise(data, size, MADV_DONTNEED);
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

/// Does that with every mapped file without a name in a directory.
inline void drop_files_from_memory(const std::string& directory) {
  const std::vector<int> fds = nameless_files(directory);
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find(directory + "/") == std::string::npos) continue;
    char* rest = nullptr;
    const uintptr_t begin = std::strtoull(line.c_str(), &rest, 16),
                    end = std::strtoull(rest + 1, nullptr, 16);
    for (const int fd : fds) drop_from_memory(fd, reinterpret_cast<void*>(begin), end - begin);
  }
}

inline size_t pages_in_memory(const void* data, size_t size) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> in((size + page - 1) / page);
  if (::mincore(const_cast<void*>(data), size, in.data()) != 0) return 0;
  size_t count = 0;
  for (const unsigned char c : in) count += c & 1;
  return count;
}

/// Runs it in a child; what it returns is the exit status. The status as waitpid() gives it.
inline int in_child_process(const std::function<int()>& body) {
  const pid_t pid = fork();
  if (pid == 0) _exit(body());
  int status = 0;
  waitpid(pid, &status, 0);
  return status;
}

/// Runs the body of the current test in a process of its own, started anew, so that nothing has happened in
/// it yet: `if (!in_fresh_process()) return;` is its first line.
inline bool in_fresh_process() {
  if (std::getenv("MINNOW_TEST_FRESH") != nullptr) return true;
  const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
  const std::string filter = std::string("--gtest_filter=") + test->test_suite_name() + "." + test->name();
  const int status = in_child_process([&] {
    setenv("MINNOW_TEST_FRESH", "1", 1);
    execl("/proc/self/exe", "test", filter.c_str(), nullptr);
    return 127;
  });
  EXPECT_EQ(status, 0) << "see above";
  return false;
}

/// Files may have so many bytes and no more, as on a full disk.
inline void limit_files(rlim_t bytes) {
  const rlimit most{bytes, bytes};
  setrlimit(RLIMIT_FSIZE, &most);
  std::signal(SIGXFSZ, SIG_IGN);
}

}  // namespace minnow::testing
