// The ground everything stands on: arithmetic, status, files, features.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstring>

#include "base/buffer.h"
#include "base/checked.h"
#include "base/cpu.h"
#include "base/file.h"
#include "kernels/common/isa.h"
#include "support/environment.h"

namespace minnow {
namespace {

using testing::TempDir;

std::span<const std::byte> bytes(const std::string& s) {
  return std::as_bytes(std::span(s));
}

TEST(Checked, RefusesOverflow) {
  EXPECT_FALSE(checked_add<uint64_t>(~uint64_t{0}, 1));
  EXPECT_EQ(checked_add<uint64_t>(2, 3), 5u);
  EXPECT_FALSE(checked_mul<uint64_t>(uint64_t{1} << 33, uint64_t{1} << 31));
  EXPECT_EQ(checked_mul<uint64_t>(uint64_t{1} << 31, uint64_t{1} << 32), uint64_t{1} << 63);
  EXPECT_TRUE(range_fits(4, 6, 10));
  EXPECT_FALSE(range_fits(4, 7, 10));
  EXPECT_FALSE(range_fits(~uint64_t{0}, 2, 10));
  EXPECT_FALSE(range_fits(2, ~uint64_t{0}, 10));
  EXPECT_EQ(round_up(uint64_t{65}, uint64_t{64}), 128u);
}

Result<int> half(int v) {
  if (v % 2 != 0) return fail(Code::invalid_argument, v, " is odd");
  return v / 2;
}

Status quarter(int v, int& out) {
  MINNOW_ASSIGN(const int once, half(v));
  MINNOW_ASSIGN(out, half(once));
  return {};
}

TEST(Status, CarriesTheMessageUp) {
  int out = 0;
  EXPECT_TRUE(quarter(12, out).ok());
  EXPECT_EQ(out, 3);
  Status s = quarter(6, out);
  EXPECT_EQ(s.code(), Code::invalid_argument);
  EXPECT_EQ(s.message(), "3 is odd");
  EXPECT_EQ(std::move(s).within("here").message(), "here: 3 is odd");
}

TEST(Status, ConcatenatesEveryKindOfPart) {
  const char* pointer = "p";
  EXPECT_EQ(cat("a", pointer, std::string("s"), std::string_view("v"), 'c', 1, uint64_t{2}, true),
            "apsvc12true");
}

TEST(AtomicFile, AppearsWholeOrNotAtAll) {
  const TempDir dir;
  const std::string path = dir.file("f");
  {
    auto w = AtomicFileWriter::create(path);
    ASSERT_TRUE(w.ok());
    ASSERT_TRUE(w->write(bytes("half")).ok());
    EXPECT_FALSE(std::filesystem::exists(path));
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir.path())) << "an abandoned file stays behind";
  auto w = AtomicFileWriter::create(path);
  ASSERT_TRUE(w.ok());
  ASSERT_TRUE(w->write(bytes("whole")).ok());
  ASSERT_TRUE(w->pad_to(8).ok());
  EXPECT_EQ(w->position(), 8u);
  ASSERT_TRUE(w->write_at(0, bytes("W")).ok());
  ASSERT_TRUE(w->commit().ok());
  auto text = read_text_file(path, 100);
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(*text, std::string("Whole\0\0\0", 8));
  EXPECT_EQ(read_text_file(path, 7).status().code(), Code::unsupported);
}

TEST(AtomicFile, ReplacesAnOldFileOnlyOnCommit) {
  const TempDir dir;
  const std::string path = dir.file("f");
  std::ofstream(path) << "old";
  {
    auto w = AtomicFileWriter::create(path);
    ASSERT_TRUE(w->write(bytes("new")).ok());
  }
  EXPECT_EQ(*read_text_file(path, 100), "old");
}

TEST(MappedFile, MapsPartsAtAnyOffset) {
  const TempDir dir;
  std::string text(100000, 'x');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7);
  std::ofstream(dir.file("f"), std::ios::binary) << text;
  const int fd = ::open(dir.file("f").c_str(), O_RDONLY);
  for (const auto& [offset, length] :
       {std::pair<uint64_t, uint64_t>{0, 0}, {1, 10}, {4096, 5000}, {99999, 1}}) {
    auto m = MappedFile::from_fd(fd, offset, length, "f");
    ASSERT_TRUE(m.ok()) << m.status().message();
    const uint64_t expected = length == 0 ? text.size() - offset : length;
    ASSERT_EQ(m->size(), expected);
    EXPECT_EQ(std::memcmp(m->data(), text.data() + offset, expected), 0);
  }
  auto mapped = MappedFile::from_fd(fd, 0, 0, "f");
  mapped->forget();
  EXPECT_EQ(std::memcmp(mapped->data(), text.data(), text.size()), 0);
  const MappedFile view = MappedFile::from_memory(std::as_bytes(std::span(text)));
  view.forget();
  EXPECT_EQ(std::memcmp(view.data(), mapped->data(), text.size()), 0);
  EXPECT_EQ(MappedFile::from_fd(fd, 100001, 0, "f").status().code(), Code::invalid_argument);
  EXPECT_EQ(MappedFile::from_fd(fd, 5, 100000, "f").status().code(), Code::invalid_argument);
  EXPECT_EQ(MappedFile::from_fd(fd, 5, ~uint64_t{0}, "f").status().code(), Code::invalid_argument);
  ::close(fd);
}

TEST(Buffer, IsZeroedAndRefusesTheAbsurd) {
  auto b = Buffer::allocate(1000, "a test");
  ASSERT_TRUE(b.ok());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(b->data()) % 64, 0u);
  for (size_t i = 0; i < 1000; ++i) ASSERT_EQ(b->as<char>()[i], 0);
  EXPECT_EQ(Buffer::allocate(~uint64_t{0}, "a test").status().code(), Code::no_memory);
  EXPECT_TRUE(Buffer::allocate(0, "a test").ok());
}

TEST(Isa, LevelsAreNestedAndNamed) {
  const uint32_t all = detect_isa();
  EXPECT_NE(all & kIsaScalar, 0u);
  auto scalar = isa_up_to("scalar");
  ASSERT_TRUE(scalar.ok());
  EXPECT_EQ(*scalar, uint32_t{kIsaScalar});
  auto best = isa_up_to(isa_name(all));
  ASSERT_TRUE(best.ok());
  EXPECT_EQ(*best, all);
  EXPECT_EQ(isa_up_to("mmx").status().code(), Code::invalid_argument);
}

TEST(Isa, EnvironmentForcesALevel) {
  ASSERT_EQ(setenv("MINNOW_ISA", "scalar", 1), 0);
  auto forced = choose_isa("");
  ASSERT_TRUE(forced.ok());
  EXPECT_EQ(*forced, uint32_t{kIsaScalar});
  ASSERT_EQ(setenv("MINNOW_ISA", "abacus", 1), 0);
  EXPECT_FALSE(choose_isa("").ok());
  ASSERT_EQ(unsetenv("MINNOW_ISA"), 0);
}

TEST(Cpu, CountsAtLeastOneThread) {
  EXPECT_GE(default_thread_count(), 1u);
}

}  // namespace
}  // namespace minnow
