// Files in place of memory, and what happens when the disk fails under them.
#include "base/scratch_file.h"

#include <gmock/gmock.h>
#include <sys/mount.h>

#include <csetjmp>
#include <cstring>
#include <thread>

#include "base/fault_guard.h"
#include "support/disk.h"

namespace minnow {
namespace {

using namespace testing;
using ::testing::HasSubstr;

const size_t kPage = static_cast<size_t>(::sysconf(_SC_PAGESIZE));

int exit_status(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST(ScratchFile, HoldsBytesUnderNoName) {
  MINNOW_NEEDS_DISK(dir);
  {
    auto file = ScratchFile::create(dir.path(), 3 * kPage + 100, "a test");
    ASSERT_TRUE(file.ok()) << file.status().message();
    EXPECT_EQ(file->size(), 3 * kPage + 100);
    EXPECT_TRUE(dir.empty());
    const std::vector<int> fds = nameless_files(dir.path());
    ASSERT_EQ(fds.size(), 1u);
    EXPECT_NE(::fcntl(fds[0], F_GETFD) & FD_CLOEXEC, 0);
    struct stat st {};
    ASSERT_EQ(::fstat(fds[0], &st), 0);
    EXPECT_EQ(st.st_mode & 0777, 0600u);
    EXPECT_EQ(uint64_t(st.st_size), file->size());
    EXPECT_GE(uint64_t(st.st_blocks) * 512, file->size()) << "the room is not reserved";
    for (size_t i = 0; i < file->size(); ++i) ASSERT_EQ(file->data()[i], std::byte{0}) << i;
    std::memset(file->data(), 7, file->size());
    drop_from_memory(fds[0], file->data(), file->size());
    EXPECT_EQ(file->data()[3 * kPage + 99], std::byte{7});
    ScratchFile moved = std::move(file).value();
    EXPECT_EQ(moved.data()[0], std::byte{7});
    EXPECT_EQ(moved.directory(), dir.path());
    EXPECT_FALSE(moved.failed());
  }
  EXPECT_TRUE(dir.empty());
  EXPECT_TRUE(nameless_files(dir.path()).empty());
  auto none = ScratchFile::create(dir.path() + "/missing", 0, "a test");  // nothing is made
  EXPECT_TRUE(none.ok());
}

TEST(ScratchFile, SaysWhyItCannotBeMade) {
  MINNOW_NEEDS_DISK(dir);
  const auto missing = ScratchFile::create(dir.path() + "/missing", kPage, "the rows");
  EXPECT_EQ(missing.status().code(), Code::not_found);
  EXPECT_THAT(missing.status().message(), HasSubstr("the rows: cannot make a file in '" + dir.path()));

  std::ofstream(dir.path() + "/file") << "x";
  EXPECT_EQ(ScratchFile::create(dir.path() + "/file", kPage, "rows").status().code(), Code::io);
  std::filesystem::remove(dir.path() + "/file");

  // More than any disk has; then a limit that a reservation meets.
  const auto huge = ScratchFile::create(dir.path(), uint64_t{1} << 55, "the rows");
  EXPECT_EQ(huge.status().code(), Code::io);
  EXPECT_THAT(huge.status().message(), HasSubstr("cannot reserve 36028797018963968 bytes in '" + dir.path()));
  EXPECT_THAT(huge.status().message(), HasSubstr("bytes are free there"));
  EXPECT_EQ(exit_status(in_child_process([&] {
              limit_files(kPage);
              const auto full = ScratchFile::create(dir.path(), 2 * kPage, "the rows");
              const std::string& m = full.status().message();
              return full.status().code() != Code::io                          ? 1
                     : m.find("cannot reserve") == std::string::npos           ? 2
                     : m.find(dir.path()) == std::string::npos                 ? 3
                     : ScratchFile::create(dir.path(), kPage, "the rows").ok() ? 0
                                                                               : 4;
            })),
            0);
  if (::geteuid() == 0) {
    std::filesystem::permissions(dir.path(), std::filesystem::perms::owner_all);
    EXPECT_EQ(exit_status(in_child_process([&] {
                if (setgid(65534) != 0 || setuid(65534) != 0) return 5;
                return ScratchFile::create(dir.path(), kPage, "rows").status().code() == Code::io ? 0 : 1;
              })),
              0);
  } else {
    std::filesystem::permissions(dir.path(), std::filesystem::perms::owner_read);
    EXPECT_EQ(ScratchFile::create(dir.path(), kPage, "rows").status().code(), Code::io);
    std::filesystem::permissions(dir.path(), std::filesystem::perms::owner_all);
  }
  EXPECT_TRUE(dir.empty());
}

TEST(ScratchFile, RefusesFilesThatAreMemory) {
  struct stat st {};
  if (::stat("/dev/shm", &st) != 0 || ::access("/dev/shm", W_OK) != 0) GTEST_SKIP() << "no /dev/shm here";
  const auto shm = ScratchFile::create("/dev/shm", kPage, "rows");
  EXPECT_EQ(shm.status().code(), Code::invalid_argument);
  EXPECT_THAT(shm.status().message(), HasSubstr("tmpfs"));
}

TEST(ScratchFile, AFailedPageIsZerosAndSaid) {
  MINNOW_NEEDS_DISK(dir);
  auto a = std::move(ScratchFile::create(dir.path(), 8 * kPage, "a test")).value();
  const int fd = nameless_files(dir.path()).at(0);
  auto b = std::move(ScratchFile::create(dir.path(), 8 * kPage, "a test")).value();
  std::memset(a.data(), 1, a.size());
  std::memset(b.data(), 2, b.size());
  ASSERT_EQ(::ftruncate(fd, static_cast<off_t>(2 * kPage)), 0);
  EXPECT_EQ(a.data()[2 * kPage - 1], std::byte{1});
  EXPECT_FALSE(a.failed());
  errno = 77;
  EXPECT_EQ(a.data()[5 * kPage + 17], std::byte{0});
  EXPECT_EQ(errno, 77);
  EXPECT_TRUE(a.failed());
  a.data()[5 * kPage] = std::byte{9};  // writes find it too, once it is there and where it is not
  a.data()[6 * kPage] = std::byte{9};
  EXPECT_EQ(a.data()[6 * kPage], std::byte{9});
  EXPECT_EQ(a.data()[0], std::byte{1});
  // Threads at once, on pages of their own and on the same.
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] { a.data()[3 * kPage + 64 * t] = std::byte{static_cast<uint8_t>(t)}; });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(b.data()[7 * kPage], std::byte{2});
  EXPECT_FALSE(b.failed());
  // A guard that takes the place of one that is gone begins anew.
  a = ScratchFile();
  const auto c = std::move(ScratchFile::create(dir.path(), 8 * kPage, "a test")).value();
  EXPECT_FALSE(c.failed());
}

TEST(ScratchFile, NoticesWhatCouldNotBeWritten) {
  // A disk on a file on a file system that is full.
  const TempDir dir;
  const std::string small = dir.file("small"), disk = dir.file("disk");
  std::filesystem::create_directory(small);
  std::filesystem::create_directory(disk);
  if (::mount("tmpfs", small.c_str(), "tmpfs", 0, "size=8m") != 0) GTEST_SKIP() << "cannot mount here";
  const std::string image = small + "/image";
  const auto command = [](const std::string& c) {
    return std::system((c + " > /dev/null 2>&1").c_str()) == 0;
  };
  if (!command("truncate -s 64M " + image + " && mkfs.ext4 -q -O ^has_journal " + image +
               " && mount -o loop " + image + " " + disk)) {
    ::umount(small.c_str());
    GTEST_SKIP() << "cannot make a disk on a file here";
  }
  {
    auto file = std::move(ScratchFile::create(disk, 32 << 20, "a test")).value();
    std::memset(file.data(), 1, 1 << 20);
    file.look_for_lost_writes();
    EXPECT_FALSE(file.failed());
    std::memset(file.data(), 2, file.size());
    // As the system does by itself after a while; through a descriptor that is told of the error on its own.
    const std::string again = "/proc/self/fd/" + std::to_string(nameless_files(disk).at(0));
    const int other = ::open(again.c_str(), O_RDWR);
    ASSERT_GE(other, 0);
    EXPECT_NE(::fsync(other), 0);
    ::close(other);
    file.look_for_lost_writes();
    EXPECT_TRUE(file.failed());
  }
  EXPECT_EQ(::umount(disk.c_str()), 0);
  ::umount2(small.c_str(), MNT_DETACH);
}

/// A file that is nobody's to guard, mapped and cut short.
volatile char* broken_map(const std::string& directory) {
  auto fd = open_nameless(directory);
  if (!fd.ok() || ::ftruncate(*fd, static_cast<off_t>(kPage)) != 0) return nullptr;
  void* map = ::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, *fd, 0);
  return map == MAP_FAILED || ::ftruncate(*fd, 0) != 0 ? nullptr : static_cast<volatile char*>(map);
}

sigjmp_buf back;
volatile int calls = 0;
void* volatile seen = nullptr;

void own_handler(int, siginfo_t* info, void*) {
  calls = calls + 1;
  seen = info->si_addr;
  if (info->si_code > 0) siglongjmp(back, 1);
}

/// Whether reading it came to the handler above.
bool faults(volatile char* at) {
  if (sigsetjmp(back, 1) != 0) return true;
  (void)*at;
  return false;
}

bool own_handler_is_there() {
  struct sigaction now {};
  ::sigaction(SIGBUS, nullptr, &now);
  return now.sa_sigaction == own_handler;
}

TEST(FaultGuard, PassesOnWhatIsNotItsOwn) {
  if (!in_fresh_process()) return;
  MINNOW_NEEDS_DISK(dir);
  struct sigaction ours {};
  ours.sa_sigaction = own_handler;
  ours.sa_flags = SA_SIGINFO;
  ASSERT_EQ(::sigaction(SIGBUS, &ours, nullptr), 0);
  EXPECT_FALSE(ScratchFile::create(dir.path() + "/missing", kPage, "a test").ok());
  EXPECT_TRUE(own_handler_is_there()) << "replaced before there was a file";
  volatile char* const foreign = broken_map(dir.path());
  ASSERT_NE(foreign, nullptr);
  for (int files = 1; files <= 2; ++files) {  // the second installs nothing, or calls would go round
    auto file = std::move(ScratchFile::create(dir.path(), 4 * kPage, "a test")).value();
    EXPECT_FALSE(own_handler_is_there());
    calls = 0;
    ASSERT_EQ(::ftruncate(nameless_files(dir.path()).back(), 0), 0);
    EXPECT_EQ(file.data()[kPage], std::byte{0});
    EXPECT_TRUE(file.failed());
    EXPECT_EQ(calls, 0) << "our own fault was passed on";
    EXPECT_TRUE(faults(foreign)) << "a fault elsewhere was swallowed";
    EXPECT_EQ(calls, 1);
    EXPECT_EQ(seen, const_cast<char*>(foreign));
    ::kill(::getpid(), SIGBUS);
    EXPECT_EQ(calls, 2) << "a signal that was sent";
    // Where a file was, there is nothing to guard any more.
    const std::byte* const gone = file.data();
    file = ScratchFile();
    void* again = ::mmap(const_cast<std::byte*>(gone), kPage, PROT_READ, MAP_SHARED | MAP_FIXED,
                         open_nameless(dir.path()).value(), 0);
    ASSERT_NE(again, MAP_FAILED);
    EXPECT_TRUE(faults(static_cast<volatile char*>(again))) << "still guarded";
    EXPECT_EQ(calls, 3);
  }
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(FaultGuard, WithoutAnotherHandlerSigbusEndsTheProcess) {
  if (!in_fresh_process()) return;
  MINNOW_NEEDS_DISK(dir);
  const auto file = ScratchFile::create(dir.path(), kPage, "a test");
  ASSERT_TRUE(file.ok());
  volatile char* const foreign = broken_map(dir.path());
  ASSERT_NE(foreign, nullptr);
  const int fault = in_child_process([&] { return int(*foreign); });
  EXPECT_TRUE(WIFSIGNALED(fault) && WTERMSIG(fault) == SIGBUS) << fault;
  const int sent = in_child_process([] { return ::kill(::getpid(), SIGBUS); });
  EXPECT_TRUE(WIFSIGNALED(sent) && WTERMSIG(sent) == SIGBUS) << sent;
}

TEST(FaultGuard, WhereSigbusWasIgnoredItIs) {
  if (!in_fresh_process()) return;
  MINNOW_NEEDS_DISK(dir);
  std::signal(SIGBUS, SIG_IGN);
  const auto file = ScratchFile::create(dir.path(), kPage, "a test");
  ASSERT_TRUE(file.ok());
  volatile char* const foreign = broken_map(dir.path());
  ASSERT_NE(foreign, nullptr);
  const int sent = in_child_process([] { return ::kill(::getpid(), SIGBUS); });
  EXPECT_EQ(sent, 0);
  // The system does not let a fault be ignored.
  const int fault = in_child_process([&] { return int(*foreign); });
  EXPECT_TRUE(WIFSIGNALED(fault) && WTERMSIG(fault) == SIGBUS) << fault;
}
#endif

TEST(ScratchFile, AsksForWhatIsWantedAndNotThere) {
  MINNOW_NEEDS_DISK(dir);
  constexpr size_t kStride = 192;
  const size_t pages = 5000, offset = kPage + 640, size = pages * kPage;  // more than are looked at together
  auto file = std::move(ScratchFile::create(dir.path(), size, "a test")).value();
  const int fd = nameless_files(dir.path()).at(0);
  std::memset(file.data(), 3, size);
  drop_from_memory(fd, file.data(), size);
  if (pages_in_memory(file.data(), size) != 0) GTEST_SKIP() << "this file system keeps its pages in memory";
  // Elements that end on the next page, lie side by side, and lie beyond the first look.
  std::vector<uint32_t> wanted;
  std::vector<bool> expected(pages, false);
  for (const uint32_t e : {0u, 17u, 18u, 38u, 2000u, 2001u, 2100u, 87000u, 90000u, 100000u}) {
    wanted.push_back(e);
    const size_t first = offset + e * kStride, last = first + kStride - 1;
    for (size_t p = first / kPage; p <= last / kPage; ++p) expected.at(p) = true;
  }
  const auto in_memory = [&](size_t p) { return pages_in_memory(file.data() + p * kPage, kPage) == 1; };
  const auto all_there = [&] {
    for (size_t p = 0; p < pages; ++p)
      if (expected[p] && !in_memory(p)) return false;
    return true;
  };
  file.ask_for(offset, kStride, wanted);
  for (int i = 0; i < 500 && !all_there(); ++i) ::usleep(10000);  // it does not wait
  size_t others = 0;
  for (size_t p = 0; p < pages; ++p) {
    if (expected[p])
      EXPECT_TRUE(in_memory(p)) << p;
    else
      others += in_memory(p);
  }
  EXPECT_LT(others, pages / 10) << "pages that nobody asked for";
  file.ask_for(offset, kStride, wanted);  // all there
  file.ask_for(offset, kStride, {});
  const ScratchFile none;
  none.ask_for(0, 64, {});
}

}  // namespace
}  // namespace minnow
