// Whole compressions to a budget: every architecture, resuming, and what is refused.
#include "compress/budget.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "support/bytes.h"
#include "support/models.h"

namespace minnow::testing {
namespace {

using namespace compress;
using ::testing::HasSubstr;

MlwqOptions quick(double bits) {
  MlwqOptions o;
  o.bits = bits;
  o.sequences = 4;
  o.length = 48;
  o.threads = 2;
  return o;
}

Result<BudgetReport> compress_fixture(const std::string& source, const MlwqOptions& o,
                                      const std::string& path) {
  auto imported = import_model(source);
  EXPECT_TRUE(imported.ok()) << imported.status().message();
  CompressOptions pack;
  pack.threads = 2;
  return compress_to_budget(*imported, o, pack, nullptr, path);
}

class Budget : public ::testing::TestWithParam<std::string> {};

/// These models are so small that metadata is most of the file, hence the budgets.
TEST_P(Budget, KeepsToItAndRuns) {
  for (const Method method : {Method::mlwq, Method::gptq, Method::rtn}) {
    const TempDir dir;
    MlwqOptions o = quick(12.0);
    o.method = method;
    const auto report = compress_fixture(GetParam(), o, dir.file("m.mnw"));
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_LE(report->file.bits_per_parameter(), 12.0);
    EXPECT_EQ(std::filesystem::file_size(dir.file("m.mnw")), report->file.file_bytes);
    EXPECT_FALSE(std::filesystem::exists(dir.file("m.mnw.resume")));
    const Engine engine = make_engine();
    const Model model = load_model(engine, dir.file("m.mnw"));
    ASSERT_NE(model, nullptr);
    const Session session = make_session(model, 16);
    const int32_t tokens[] = {1, 2, 3};
    EXPECT_EQ(minnow_prefill(session.get(), tokens, 3, nullptr, nullptr), MINNOW_OK) << minnow_last_error();
  }
}

TEST_P(Budget, AsPublished) {
  const TempDir dir;
  MlwqOptions o = quick(0.0);
  o.paper = true;
  const auto report = compress_fixture(GetParam(), o, dir.file("m.mnw"));
  ASSERT_TRUE(report.ok()) << report.status().message();
  const Engine engine = make_engine();
  ASSERT_NE(load_model(engine, dir.file("m.mnw")), nullptr);
}

INSTANTIATE_TEST_SUITE_P(Fixtures, Budget, ::testing::ValuesIn(architecture_fixtures()),
                         [](const auto& instance) {
                           const std::filesystem::path p(instance.param);
                           std::string name =
                               p.parent_path().filename().string() + "_" + p.filename().string();
                           for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
                           return name;
                         });

const std::string kTiny = MINNOW_TEST_DATA "/arch/llama-tied-gqa";

TEST(BudgetRuns, TheSameInputsGiveTheSameBytes) {
  const TempDir dir;
  ASSERT_TRUE(compress_fixture(kTiny, quick(9.0), dir.file("a.mnw")).ok());
  ASSERT_TRUE(compress_fixture(kTiny, quick(9.0), dir.file("b.mnw")).ok());
  EXPECT_EQ(read_bytes(dir.file("a.mnw")), read_bytes(dir.file("b.mnw")));
}

TEST(BudgetRuns, ResumeWhereTheyWereInterrupted) {
  const TempDir dir;
  ASSERT_TRUE(compress_fixture(kTiny, quick(9.0), dir.file("whole.mnw")).ok());
  for (const char* stage : {"sampling", "sensitivity", "quantise"}) {
    const std::string path = dir.file(std::string(stage) + ".mnw");
    MlwqOptions o = quick(9.0);
    o.progress = [&](const char* s, uint64_t, uint64_t) { return std::string(s) != stage; };
    const auto stopped = compress_fixture(kTiny, o, path);
    ASSERT_FALSE(stopped.ok());
    EXPECT_EQ(stopped.status().code(), Code::cancelled);
    EXPECT_FALSE(std::filesystem::exists(path));
    bool again = false;
    o.progress = [&](const char* s, uint64_t, uint64_t) {
      again = again || std::string(s) == "sensitivity";
      return true;
    };
    ASSERT_TRUE(compress_fixture(kTiny, o, path).ok());
    EXPECT_EQ(again, std::string(stage) != "quantise") << stage;
    EXPECT_EQ(read_bytes(path), read_bytes(dir.file("whole.mnw"))) << stage;
    EXPECT_FALSE(std::filesystem::exists(path + ".resume"));
  }
}

TEST(BudgetRuns, WhatIsLeftOfOtherOptionsOrDamagedIsNotUsed) {
  const TempDir dir;
  ASSERT_TRUE(compress_fixture(kTiny, quick(9.0), dir.file("whole.mnw")).ok());
  const std::string path = dir.file("m.mnw");
  MlwqOptions other = quick(9.0);
  other.seed = 2;
  other.progress = [](const char* s, uint64_t, uint64_t) { return std::string(s) != "quantise"; };
  ASSERT_FALSE(compress_fixture(kTiny, other, path).ok());
  ASSERT_TRUE(std::filesystem::exists(path + ".resume/ends"));
  ASSERT_TRUE(compress_fixture(kTiny, quick(9.0), path).ok());
  EXPECT_EQ(read_bytes(path), read_bytes(dir.file("whole.mnw")));

  MlwqOptions same = quick(9.0);
  same.progress = other.progress;
  ASSERT_FALSE(compress_fixture(kTiny, same, path).ok());
  for (const auto& entry : std::filesystem::directory_iterator(path + ".resume")) {
    Bytes bytes = read_bytes(entry.path().string());
    bytes[bytes.size() / 2] ^= 1;
    write_bytes(entry.path().string(), bytes);
  }
  ASSERT_TRUE(compress_fixture(kTiny, quick(9.0), path).ok());
  EXPECT_EQ(read_bytes(path), read_bytes(dir.file("whole.mnw")));
}

TEST(BudgetRuns, ABudgetThatCannotBeMet) {
  const TempDir dir;
  const auto report = compress_fixture(kTiny, quick(1.0), dir.file("m.mnw"));
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.status().code(), Code::invalid_argument);
  EXPECT_THAT(report.status().message(), HasSubstr("ask for more bits"));
  EXPECT_FALSE(std::filesystem::exists(dir.file("m.mnw")));
}

TEST(BudgetRuns, CalibrationTextsThatCannotServe) {
  const std::string books = MINNOW_EXAMPLE_MODELS "/books-7m";
  const TempDir dir;
  const auto attempt = [&](const std::string& text, const std::string& model) {
    write_bytes(dir.file("t.txt"), Bytes(text.begin(), text.end()));
    MlwqOptions o = quick(4.0);
    o.length = 2048;
    o.calibration = {dir.file("t.txt")};
    const auto report = compress_fixture(model, o, dir.file("m.mnw"));
    EXPECT_FALSE(report.ok());
    return report.status().message();
  };
  EXPECT_THAT(attempt("too short", books), HasSubstr("two sequences of 2048 are the least"));
  EXPECT_THAT(attempt("not \xff UTF-8", books), HasSubstr("t.txt"));
  EXPECT_THAT(attempt(std::string("zero\0byte", 9), books), HasSubstr("zero byte at 4"));
  EXPECT_THAT(attempt("a text", kTiny), HasSubstr("no tokenizer"));
  MlwqOptions o = quick(4.0);
  o.calibration = {dir.file("absent.txt")};
  EXPECT_THAT(compress_fixture(books, o, dir.file("m.mnw")).status().message(), HasSubstr("absent.txt"));
}

TEST(BudgetRuns, ADirectoryThatCannotBeWritten) {
  const auto report = compress_fixture(kTiny, quick(9.0), "/proc/minnow/m.mnw");
  ASSERT_FALSE(report.ok());
  EXPECT_THAT(report.status().message(), HasSubstr("/proc/minnow"));
}

}  // namespace
}  // namespace minnow::testing
