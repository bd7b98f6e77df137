// Whole compressions to a budget: every architecture, resuming, and what is refused.
#include "compress/budget.h"

#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <set>

#include "compress/inspect.h"
#include "compress/report.h"
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
  return compress_to_budget(*imported, o, pack, {}, path);
}

class Budget : public ::testing::TestWithParam<std::string> {};

/// Four bits, metadata and all.
TEST_P(Budget, KeepsToItAndRuns) {
  for (const Method method : {Method::mlwq, Method::gptq, Method::rtn}) {
    const TempDir dir;
    const double bits = 4.0;
    MlwqOptions o = quick(bits);
    o.threads = 1;
    o.method = method;
    const auto report = compress_fixture(GetParam(), o, dir.file("m.mnw"));
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_LE(report->file.bits_per_parameter(), bits);
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

INSTANTIATE_TEST_SUITE_P(Fixtures, Budget, ::testing::ValuesIn(architecture_fixtures()), fixture_name);

const std::string kTiny = MINNOW_TEST_DATA "/arch/llama-tied-gqa";

TEST(BudgetRuns, LearnedPositionsOfSixteenBitsStaySo) {
  const TempDir dir;
  ASSERT_TRUE(compress_fixture(MINNOW_TEST_DATA "/arch/opt", quick(4.0), dir.file("m.mnw")).ok());
  const auto file = inspect_file(dir.file("m.mnw"), true);
  ASSERT_TRUE(file.ok()) << file.status().message();
  uint64_t bytes = 0;
  for (const auto& t : (*file)["tensors"]) {
    if (t["name"] == "positions") bytes = t["bytes"];
  }
  EXPECT_EQ(bytes, 128u * 64 * 2);
}

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

/// Sequences beyond those whose gradients are taken count too, and every part that can be left out leaves a
/// file that keeps to the budget.
TEST(BudgetRuns, FewerGradientsThanSequencesAndPartsLeftOut) {
  const TempDir dir;
  std::set<decltype(read_bytes(""))> files;
  const auto run = [&](const char* what, const std::function<void(MlwqOptions&)>& change) {
    MlwqOptions o = quick(4.0);
    o.gradients = 2;
    change(o);
    const std::string path = dir.file(cat(what, ".mnw"));
    const auto report = compress_fixture(kTiny, o, path);
    ASSERT_TRUE(report.ok()) << what << ": " << report.status().message();
    EXPECT_EQ(report->sequences, o.sequences) << what;
    EXPECT_LE(report->file.bits_per_parameter(), 4.0) << what;
    files.insert(read_bytes(path));
  };
  run("two", [](MlwqOptions&) {});
  run("all", [](MlwqOptions& o) { o.gradients = 0; });
  run("sequences", [](MlwqOptions& o) { o.sequences = 2; });
  run("tqp", [](MlwqOptions& o) { o.clip = ClipSearch::none; });
  run("bpll", [](MlwqOptions& o) { o.budget = compress::Budget::evenly; });
  run("blocks", [](MlwqOptions& o) { o.budget = compress::Budget::blocks; });
  run("compensation", [](MlwqOptions& o) { o.compensate = false; });
  run("descent", [](MlwqOptions& o) { o.descents = 0; });
  run("gradients", [](MlwqOptions& o) { o.weighted_tokens = false; });
  run("propagation", [](MlwqOptions& o) { o.propagate = false; });
  run("drift", [](MlwqOptions& o) { o.make_up = 0.0; });
  EXPECT_EQ(files.size(), 11u) << "two of them gave the same file";
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

/// On one thread: waiting for another takes longer than the work where many tests run at a time.
MlwqOptions alone(double bits) {
  MlwqOptions o = quick(bits);
  o.threads = 1;
  return o;
}

/// What a compression left in its directory besides the checkpoint and `kept`.
std::vector<std::string> left_behind(const std::string& directory, const std::string& kept) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if (name != kept && !name.ends_with(".resume")) names.push_back(name);
  }
  return names;
}

/// Runs body in a child process and returns the status that wait() gives.
template <typename Body>
int in_child(Body&& body) {
  const pid_t pid = fork();
  if (pid == 0) {
    body();
    _exit(0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return status;
}

// Killed without a chance to tidy up, at many moments: the next run goes on and makes the same bytes.
TEST(BudgetRuns, KilledAtAnyMomentTheyResume) {
  const TempDir dir;
  int ticks = 0;
  MlwqOptions counted = alone(9.0);
  counted.progress = [&](const char*, uint64_t, uint64_t) { return ++ticks > 0; };
  ASSERT_TRUE(compress_fixture(kTiny, counted, dir.file("whole.mnw")).ok());
  const Bytes whole = read_bytes(dir.file("whole.mnw"));
  ASSERT_GT(ticks, 10);
  for (int moment = 1; moment <= ticks; moment += std::max(1, ticks / 4)) {
    const TempDir own;
    const std::string path = own.file("m.mnw");
    const int status = in_child([&] {
      int left = moment;
      MlwqOptions o = alone(9.0);
      o.progress = [&](const char*, uint64_t, uint64_t) {
        if (--left == 0) kill(getpid(), SIGKILL);
        return true;
      };
      (void)compress_fixture(kTiny, o, path);
    });
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << moment;
    EXPECT_FALSE(std::filesystem::exists(path));
    ASSERT_TRUE(compress_fixture(kTiny, alone(9.0), path).ok()) << moment;
    EXPECT_EQ(read_bytes(path), whole) << moment;
    EXPECT_FALSE(std::filesystem::exists(path + ".resume")) << moment;
  }
}

// Files may have so many bytes and no more, as on a full disk: checkpoint, spill, trial file and result in
// turn are what does not fit. No file appears, and with room again the run ends as it would have.
TEST(BudgetRuns, AFullDiskIsSaidAndLeavesNothing) {
  const TempDir dir;
  ASSERT_TRUE(compress_fixture(kTiny, alone(9.0), dir.file("whole.mnw")).ok());
  const Bytes whole = read_bytes(dir.file("whole.mnw"));
  for (const uint64_t memory : {uint64_t{0}, uint64_t{1} << 30}) {
    for (const rlim_t limit : {rlim_t{100}, rlim_t{whole.size() - 1}}) {
      const TempDir own;
      const std::string path = own.file("m.mnw");
      MlwqOptions o = alone(9.0);
      o.memory = memory;
      const int status = in_child([&] {
        const rlimit most{limit, limit};
        setrlimit(RLIMIT_FSIZE, &most);
        std::signal(SIGXFSZ, SIG_IGN);
        const auto report = compress_fixture(kTiny, o, path);
        const bool told = !report.ok() && report.status().code() == Code::io &&
                          report.status().message().find(own.file("")) != std::string::npos;
        _exit(report.ok() ? 2 : told ? 0 : 1);
      });
      ASSERT_TRUE(WIFEXITED(status)) << limit;
      EXPECT_EQ(WEXITSTATUS(status), 0) << limit << " bytes, memory " << memory;
      EXPECT_THAT(left_behind(own.file(""), ""), ::testing::IsEmpty()) << limit;
      ASSERT_TRUE(compress_fixture(kTiny, o, path).ok()) << limit;
      EXPECT_EQ(read_bytes(path), whole) << limit;
    }
  }
}

TEST(BudgetRuns, MemoryDoesNotChangeTheResult) {
  const TempDir dir;
  ASSERT_TRUE(compress_fixture(kTiny, alone(9.0), dir.file("a.mnw")).ok());
  MlwqOptions o = alone(9.0);
  o.memory = 0;
  ASSERT_TRUE(compress_fixture(kTiny, o, dir.file("b.mnw")).ok());
  EXPECT_EQ(read_bytes(dir.file("a.mnw")), read_bytes(dir.file("b.mnw")));
  EXPECT_THAT(left_behind(dir.file(""), "a.mnw"), ::testing::ElementsAre("b.mnw"));
}

TEST(BudgetRuns, WeightsThatAreNotNumbersAreRefused) {
  const TempDir dir;
  std::filesystem::copy(kTiny, dir.file("model"));
  const std::string weights = dir.file("model/model.safetensors");
  Bytes bytes = read_bytes(weights);
  ASSERT_GT(bytes.size(), 4096u);
  const uint16_t nan = 0x7fc0;  // the last tensor's last value, a bf16
  std::memcpy(bytes.data() + bytes.size() - sizeof nan, &nan, sizeof nan);
  std::filesystem::remove(weights);
  write_bytes(weights, bytes);
  for (const Method method : {Method::mlwq, Method::gptq, Method::rtn}) {
    MlwqOptions o = alone(9.0);
    o.method = method;
    auto imported = import_model(dir.file("model"));
    Status status = imported.ok() ? Status() : std::move(imported).status();
    if (status.ok()) status = compress_to_budget(*imported, o, {}, {}, dir.file("m.mnw")).status();
    ASSERT_FALSE(status.ok());
    EXPECT_THAT(status.message(), HasSubstr("not finite"));
    EXPECT_FALSE(std::filesystem::exists(dir.file("m.mnw")));
  }
}

// The page names every linear with its widths and bytes, and loads nothing from elsewhere.
TEST(BudgetRuns, AReportOfWhatWasDone) {
  const TempDir dir;
  MlwqOptions o = alone(9.0);
  const auto report = compress_fixture(kTiny, o, dir.file("m.mnw"));
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->sequences, 4u);
  EXPECT_FALSE(report->linears.empty());
  double predicted = 0.0;
  for (const LinearSummary& l : report->linears) predicted += l.predicted_loss;
  EXPECT_DOUBLE_EQ(report->predicted_loss, predicted);
  ASSERT_GT(report->curve.size(), 2u);
  EXPECT_LT(report->curve.back().loss, 0.5 * report->curve.front().loss);
  EXPECT_LT(report->curve.front().bits, report->curve.back().bits);
  ASSERT_TRUE(write_report(*report, "a <model>", dir.file("r.html")).ok());
  const Bytes bytes = read_bytes(dir.file("r.html"));
  const std::string page(bytes.begin(), bytes.end());
  EXPECT_THAT(page, HasSubstr("a &lt;model>"));
  EXPECT_THAT(page, HasSubstr(cat("file bytes<td>", report->file.file_bytes)));
  EXPECT_THAT(page, HasSubstr("calibration sequences<td>4"));
  for (const LinearSummary& l : report->linears)
    EXPECT_THAT(page, HasSubstr(cat("<td>", l.name, "<td>", l.slabs, "<td>", l.bytes, "<td>")));
  for (const char* outside : {"http", "src=", "href=", "@import"})
    EXPECT_THAT(page, ::testing::Not(HasSubstr(outside)));
  EXPECT_FALSE(write_report(*report, "m", dir.file("absent/r.html")).ok());
}

TEST(BudgetRuns, ADirectoryThatCannotBeWritten) {
  const auto report = compress_fixture(kTiny, alone(9.0), "/proc/minnow/m.mnw");
  ASSERT_FALSE(report.ok());
  EXPECT_THAT(report.status().message(), HasSubstr("/proc/minnow"));
}

}  // namespace
}  // namespace minnow::testing
