// kv_budget and kv_dir through the C API: what they promise of memory, errors, forks, and a disk that fails.
#include <gmock/gmock.h>

#include "support/codebooks.h"
#include "support/disk.h"

namespace minnow::testing {
namespace {

using ::testing::HasSubstr;

minnow_session_params in_file(const std::string& directory, uint32_t context = 512, uint64_t budget = 1) {
  minnow_session_params p = minnow_session_params_default();
  p.context = context;
  p.kv_budget = budget;
  p.kv_dir = directory.c_str();
  return p;
}

Session make(const Model& model, const minnow_session_params& p) {
  minnow_session* s = nullptr;
  EXPECT_EQ(minnow_session_create(model.get(), &p, &s), MINNOW_OK) << minnow_last_error();
  return Session(s);
}

minnow_session_stats stats_of(const Session& session) {
  minnow_session_stats s{};
  s.struct_size = sizeof s;
  EXPECT_EQ(minnow_session_get_stats(session.get(), &s), MINNOW_OK);
  return s;
}

TEST(KvFileParams, DefaultsAndRefusals) {
  MINNOW_NEEDS_DISK(dir);
  const minnow_session_params d = minnow_session_params_default();
  EXPECT_EQ(d.kv_budget, 0u);
  EXPECT_EQ(d.kv_dir, nullptr);
  const Engine engine = make_engine(1);
  const Model model = load_model(engine, tiny_path());
  minnow_session* s = nullptr;
  const auto refused = [&](const minnow_session_params& p) {
    const minnow_status status = minnow_session_create(model.get(), &p, &s);
    minnow_plan_report r{};
    r.struct_size = sizeof r;
    // Parameters that contradict each other do so for a plan too; a directory is only looked at later.
    EXPECT_EQ(minnow_plan(engine.get(), tiny_path().c_str(), &p, 0, &r),
              status == MINNOW_INVALID_ARGUMENT ? status : MINNOW_OK);
    minnow_session_create(model.get(), &p, &s);  // for its message
    return status;
  };
  minnow_session_params p = in_file(dir.path());
  p.kv_dir = nullptr;
  EXPECT_EQ(refused(p), MINNOW_INVALID_ARGUMENT);
  EXPECT_THAT(minnow_last_error(), HasSubstr("no kv_dir"));
  p.kv_dir = "";
  EXPECT_EQ(refused(p), MINNOW_INVALID_ARGUMENT);
  EXPECT_EQ(refused(in_file(dir.path(), 512, 0)), MINNOW_INVALID_ARGUMENT);
  EXPECT_THAT(minnow_last_error(), HasSubstr("no kv_budget"));
  const std::string missing = dir.path() + "/missing";
  EXPECT_EQ(refused(in_file(missing)), MINNOW_NOT_FOUND);
  EXPECT_THAT(minnow_last_error(), HasSubstr(missing));
  EXPECT_EQ(refused(in_file("/proc")), MINNOW_NOT_FOUND);  // nobody makes files there
  EXPECT_EQ(s, nullptr);
  // A caller of an older header has neither.
  p = in_file(dir.path());
  p.struct_size = offsetof(minnow_session_params, kv_budget);
  const Session old = make(model, p);
  EXPECT_EQ(stats_of(old).kv_file_bytes, 0u);
  EXPECT_TRUE(dir.empty());
}

TEST(KvFileParams, AFullDiskIsSaid) {
  MINNOW_NEEDS_DISK(dir);
  const Engine engine = make_engine(1);
  const Model model = load_model(engine, tiny_path());
  const int status = in_child_process([&] {
    limit_files(1 << 16);
    const minnow_session_params p = in_file(dir.path());
    minnow_session* s = nullptr;
    if (minnow_session_create(model.get(), &p, &s) != MINNOW_IO) return 1;
    const std::string m = minnow_last_error();
    return m.find("cannot reserve") == std::string::npos || m.find(dir.path()) == std::string::npos ||
                   m.find("bytes are free") == std::string::npos
               ? 2
               : 0;
  });
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(dir.empty());
}

TEST(KvFile, PlanAndStatsCountTheSame) {
  MINNOW_NEEDS_DISK(dir);
  const Engine engine = make_engine(1);
  const Model model = load_model(engine, tiny_path());
  const uint64_t whole = stats_of(make_session(model, 512, MINNOW_KV_Q8)).kv_bytes, layer = whole / 3;
  for (const uint64_t budget : {uint64_t{1}, layer, 2 * layer + 5, 3 * layer - 1, 3 * layer}) {
    minnow_session_params p = in_file(dir.path(), 512, budget);
    p.kv_type = MINNOW_KV_Q8;
    minnow_plan_report r{};
    r.struct_size = sizeof r;
    ASSERT_EQ(minnow_plan(engine.get(), tiny_path().c_str(), &p, 0, &r), MINNOW_OK) << minnow_last_error();
    EXPECT_TRUE(nameless_files(dir.path()).empty());
    const minnow_session_stats s = stats_of(make(model, p));
    EXPECT_EQ(s.kv_bytes, whole);
    EXPECT_EQ(s.kv_file_bytes, (3 - budget / layer) * layer);
    EXPECT_EQ(r.kv_file, s.kv_file_bytes);
    EXPECT_EQ(r.kv_cache, s.kv_bytes);
    EXPECT_EQ(r.total, r.weights + r.kv_cache - r.kv_file + r.workspace);
    EXPECT_LE(s.kv_bytes - s.kv_file_bytes, budget);
  }
  // What fits in memory fits with a file, and more.
  const auto fits = [&](const minnow_session_params* p, uint64_t memory) {
    minnow_plan_report r{};
    r.struct_size = sizeof r;
    EXPECT_EQ(minnow_plan(engine.get(), tiny_path().c_str(), p, memory, &r), MINNOW_OK);
    return r.context_that_fits;
  };
  minnow_plan_report r{};
  r.struct_size = sizeof r;
  minnow_session_params small = minnow_session_params_default();
  small.context = 200;
  ASSERT_EQ(minnow_plan(engine.get(), tiny_path().c_str(), &small, 0, &r), MINNOW_OK);
  const minnow_session_params filed = in_file(dir.path(), 200, layer / 2);
  EXPECT_GT(fits(&filed, r.total), fits(&small, r.total));
}

TEST(KvFile, SessionsForksAndScoresAreTheSame) {
  MINNOW_NEEDS_DISK(dir);
  const Engine engine = make_engine(2);
  const Model model = load_model(engine, tiny_path());
  const auto tokens = some_tokens(300), more = some_tokens(50, 5);
  for (const minnow_kv_type kv : {MINNOW_KV_F32, MINNOW_KV_F16, MINNOW_KV_Q8}) {
    const Session memory = make_session(model, 512, kv);
    std::string place = dir.path();
    minnow_session_params p = in_file(place);
    p.kv_type = kv;
    const Session file = make(model, p);
    place.assign(place.size(), '?');  // what was given is the caller's again
    const auto same = [&](const auto& what) { EXPECT_EQ(what(file), what(memory)) << int(kv); };
    same([&](const Session& s) { return all_logits(s, tokens, 100); });
    same([&](const Session& s) {
      EXPECT_EQ(minnow_session_rewind(s.get(), 200), MINNOW_OK);
      std::vector<float> scores(more.size());
      EXPECT_EQ(minnow_score(s.get(), more.data(), more.size(), scores.data()), MINNOW_OK)
          << minnow_last_error();
      return scores;
    });
    EXPECT_EQ(nameless_files(dir.path()).size(), 1u);  // the one that scores has taken the other's place
    minnow_session *a = nullptr, *b = nullptr;
    ASSERT_EQ(minnow_session_fork(file.get(), &a), MINNOW_OK) << minnow_last_error();
    const Session fork(a);
    ASSERT_EQ(minnow_session_fork(memory.get(), &b), MINNOW_OK);
    const Session memory_fork(b);
    EXPECT_EQ(stats_of(fork).kv_file_bytes, stats_of(file).kv_file_bytes);
    EXPECT_EQ(nameless_files(dir.path()).size(), 2u);
    const auto expected = all_logits(memory_fork, more, 10);
    EXPECT_EQ(all_logits(fork, more, 10), expected);
    EXPECT_EQ(all_logits(file, some_tokens(30, 8), 10), all_logits(memory, some_tokens(30, 8), 10));
    EXPECT_EQ(generate_tokens(fork, some_tokens(9), greedy_params(20)).tokens,
              generate_tokens(memory_fork, some_tokens(9), greedy_params(20)).tokens);
    EXPECT_TRUE(dir.empty());
  }
  EXPECT_TRUE(nameless_files(dir.path()).empty());
}

TEST(KvFile, RetrievalKeepsItsIndexInMemory) {
  MINNOW_NEEDS_DISK(dir);
  const std::string& path = tiny_with_codebooks();
  const Engine engine = make_engine(2);
  const Model model = load_model(engine, path);
  minnow_session_params p = in_file(dir.path(), 512, 1 << 20);
  p.retrieval = MINNOW_RETRIEVAL_ON, p.retrieval_from = 100, p.retrieval_fraction = 0.1f;
  minnow_session_params memory = p;
  memory.kv_budget = 0, memory.kv_dir = nullptr;
  const Session whole = make(model, memory);
  const uint64_t index = stats_of(whole).index_bytes;
  ASSERT_GT(index, 0u);
  p.kv_budget = index - 1;
  minnow_session* s = nullptr;
  EXPECT_EQ(minnow_session_create(model.get(), &p, &s), MINNOW_INVALID_ARGUMENT);
  EXPECT_THAT(minnow_last_error(), HasSubstr(std::to_string(index)));
  EXPECT_THAT(minnow_last_error(), HasSubstr(std::to_string(index - 1)));
  minnow_plan_report r{};
  r.struct_size = sizeof r;
  EXPECT_EQ(minnow_plan(engine.get(), path.c_str(), &p, 0, &r), MINNOW_INVALID_ARGUMENT);
  p.kv_budget = index;
  const Session file = make(model, p);
  EXPECT_EQ(stats_of(file).kv_file_bytes, stats_of(file).kv_bytes);
  ASSERT_EQ(minnow_plan(engine.get(), path.c_str(), &p, 0, &r), MINNOW_OK);
  EXPECT_EQ(r.kv_file, stats_of(file).kv_bytes);
  EXPECT_EQ(r.kv_cache, r.kv_file + index);
  const auto tokens = some_tokens(300);
  for (const Session* t : {&whole, &file}) {
    prefill(*t, tokens);
    for (const int32_t token : some_tokens(30, 3)) ASSERT_EQ(minnow_decode(t->get(), token), MINNOW_OK);
  }
  EXPECT_EQ(logits_of(file), logits_of(whole));
  EXPECT_EQ(stats_of(file).tokens_retrieved, 30u);
}

/// Of /proc/self/status, in bytes; 0: not there.
uint64_t anonymous_memory() {
  std::ifstream status("/proc/self/status");
  uint64_t sum = 0;
  for (std::string word; status >> word;) {
    uint64_t kilobytes = 0;
    if ((word == "RssAnon:" || word == "RssShmem:") && status >> kilobytes) sum += kilobytes * 1024;
  }
  return sum;
}

TEST(KvFile, MemoryKeepsToTheBudget) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers take memory of their own";
#endif
  MINNOW_NEEDS_DISK(dir);
  if (anonymous_memory() == 0) GTEST_SKIP() << "/proc/self/status says nothing of anonymous memory";
  const Engine engine = make_engine(2);
  const Model model = load_model(engine, books_path());
  constexpr uint32_t kContext = 2048;
  constexpr uint64_t kSlack = 1 << 20;  // allocator, stacks
  const auto tokens = some_tokens(kContext, 1, 4096);
  // 512 bytes a position and KV head: 16 MiB.
  const auto growth = [&](const minnow_session_params& p, minnow_session_stats* stats) {
    const uint64_t before = anonymous_memory();
    const Session s = make(model, p);
    EXPECT_EQ(minnow_prefill(s.get(), tokens.data(), tokens.size(), nullptr, nullptr), MINNOW_OK);
    *stats = stats_of(s);
    return anonymous_memory() - before;
  };
  minnow_session_stats stats{};
  minnow_session_params memory = minnow_session_params_default();
  memory.context = kContext;
  memory.kv_type = MINNOW_KV_F32;
  const uint64_t without = growth(memory, &stats);
  EXPECT_GE(without, stats.kv_bytes) << "the figure does not show what it should";
  for (const uint64_t budget : {uint64_t{1} << 20, uint64_t{4} << 20}) {
    minnow_session_params p = in_file(dir.path(), kContext, budget);
    p.kv_type = MINNOW_KV_F32;
    const uint64_t with = growth(p, &stats);
    EXPECT_GE(stats.kv_file_bytes, stats.kv_bytes - budget);
    EXPECT_LE(with, budget + stats.workspace_bytes + kSlack);
    EXPECT_GE(stats.kv_bytes, 2 * budget) << "the context is too small to mean something";
  }
}

TEST(KvFile, ADiskThatFailsEndsTheSessionAndNothingElse) {
  MINNOW_NEEDS_DISK(dir);
  const Engine engine = make_engine(2);
  const Model model = load_model(engine, tiny_path());
  const auto tokens = some_tokens(300), more = some_tokens(20, 4);
  for (const minnow_kv_type kv : {MINNOW_KV_F16, MINNOW_KV_Q8}) {
    minnow_session_params p = in_file(dir.path());
    p.kv_type = kv;
    const Session broken = make(model, p);
    const int fd = nameless_files(dir.path()).at(0);
    const Session good = make(model, p), memory = make_session(model, 512, kv);
    for (const Session* s : {&broken, &good, &memory}) prefill(*s, tokens);
    const minnow_session_stats before = stats_of(broken);

    ASSERT_EQ(::ftruncate(fd, 4096), 0);
    const auto fails = [&](minnow_status status) {
      EXPECT_EQ(status, MINNOW_IO);
      EXPECT_THAT(minnow_last_error(), HasSubstr("the KV file in '" + dir.path() + "'"));
      EXPECT_THAT(minnow_last_error(), HasSubstr("lost"));
      EXPECT_THAT(minnow_last_error(), HasSubstr("destroy it"));
    };
    fails(minnow_decode(broken.get(), 5));
    fails(minnow_prefill(broken.get(), more.data(), more.size(), nullptr, nullptr));
    EXPECT_EQ(minnow_session_position(broken.get()), 300u);
    const float* logits = nullptr;
    size_t count = 0;
    EXPECT_EQ(minnow_logits(broken.get(), &logits, &count), MINNOW_BAD_STATE);
    EXPECT_EQ(minnow_session_rewind(broken.get(), 0), MINNOW_OK);
    fails(minnow_decode(broken.get(), 5));
    std::vector<float> scores(more.size());
    fails(minnow_score(broken.get(), more.data(), more.size(), scores.data()));
    EXPECT_EQ(generate_tokens(broken, more, greedy_params(5)).status, MINNOW_IO);
    minnow_session* s = nullptr;
    fails(minnow_session_fork(broken.get(), &s));
    EXPECT_EQ(s, nullptr);
    EXPECT_EQ(stats_of(broken).kv_file_bytes, before.kv_file_bytes);
    EXPECT_EQ(stats_of(broken).tokens_prefilled, 300u);

    EXPECT_EQ(all_logits(good, more, 7), all_logits(memory, more, 7));
  }
  // In the middle of a fork or a scoring decoder's copy, which reads what nothing has read since.
  const Session broken = make(model, in_file(dir.path()));
  prefill(broken, tokens);
  ASSERT_EQ(::ftruncate(nameless_files(dir.path()).at(0), 0), 0);
  minnow_session* s = nullptr;
  EXPECT_EQ(minnow_session_fork(broken.get(), &s), MINNOW_IO);
  EXPECT_EQ(s, nullptr);
  EXPECT_EQ(nameless_files(dir.path()).size(), 1u);
}

// Layers in memory do not fail, so a session without a file in use never does.
TEST(KvFile, ALayerInMemoryNeedsNoDisk) {
  MINNOW_NEEDS_DISK(dir);
  const Engine engine = make_engine(1);
  const Model model = load_model(engine, tiny_path());
  const Session s = make(model, in_file(dir.path(), 512, uint64_t{1} << 30));
  EXPECT_EQ(stats_of(s).kv_file_bytes, 0u);
  EXPECT_TRUE(nameless_files(dir.path()).empty());
  prefill(s, some_tokens(20));
}

}  // namespace
}  // namespace minnow::testing
