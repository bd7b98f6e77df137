// Sessions of one model on several threads, a second thread inside a session, cancelling from outside.
#include <atomic>
#include <thread>

#include "support/fixtures.h"

namespace minnow::testing {
namespace {

/// Lets a running call wait within its progress callback until another thread has done something.
class Gate {
 public:
  static int report(void* self, float) {
    auto* g = static_cast<Gate*>(self);
    g->inside_ = true;
    while (!g->open_) std::this_thread::yield();
    return 1;
  }
  void wait_until_inside() const {
    while (!inside_) std::this_thread::yield();
  }
  void open() { open_ = true; }

 private:
  std::atomic<bool> inside_{false}, open_{false};
};

std::vector<int32_t> run_alone(const Model& model, uint32_t seed) {
  minnow_generate_params p = minnow_generate_params_default();
  p.max_tokens = 12;
  p.seed = seed;
  p.ignore_eos = 1;
  return generate_tokens(make_session(model, 64, MINNOW_KV_F16), some_tokens(20, seed), p).tokens;
}

TEST(Sessions, OnSeveralThreadsGiveTheSameTokensAsAlone) {
  for (const compress::Storage storage : {compress::Storage::w8, compress::Storage::source16}) {
    const TempDir dir;
    compress(MINNOW_TEST_DATA "/arch/llama-tied-gqa", dir.file("m.mnw"), storage);
    for (const uint32_t threads : {1u, 2u}) {
      const Engine engine = make_engine(threads);
      const Model model = load_model(engine, dir.file("m.mnw"));
      std::vector<std::vector<int32_t>> alone, together(4);
      for (uint32_t i = 0; i < 4; ++i) alone.push_back(run_alone(model, i));
      std::vector<std::thread> workers;
      for (uint32_t i = 0; i < 4; ++i) workers.emplace_back([&, i] { together[i] = run_alone(model, i); });
      for (std::thread& t : workers) t.join();
      EXPECT_EQ(alone[0].size(), 12u);
      EXPECT_EQ(together, alone);
    }
  }
}

TEST(Sessions, TwoEnginesAtOnce) {
  const Engine first = make_engine(2), second = make_engine(2, "scalar");
  const Model a = load_model(first, tiny_path()), b = load_model(second, tiny_path());
  const auto alone_a = run_alone(a, 1), alone_b = run_alone(b, 2);
  std::vector<int32_t> together_a, together_b;
  std::thread t([&] { together_a = run_alone(a, 1); });
  together_b = run_alone(b, 2);
  t.join();
  EXPECT_EQ(together_a, alone_a);
  EXPECT_EQ(together_b, alone_b);
}

TEST(Sessions, MadeAndDestroyedOnDifferentThreads) {
  const Engine engine = make_engine(2);
  Model model = load_model(engine, tiny_path());
  std::vector<std::thread> workers;
  std::atomic<int> good{0};
  for (int i = 0; i < 3; ++i) {
    minnow_session* s = nullptr;
    ASSERT_EQ(minnow_session_create(model.get(), nullptr, &s), MINNOW_OK);
    workers.emplace_back([s, &good] {
      const Session session(s);
      good += minnow_decode(s, 5) == MINNOW_OK;
    });
  }
  model.reset();  // the last session ends the model, whichever it is
  for (std::thread& t : workers) t.join();
  EXPECT_EQ(good, 3);
}

TEST(Sessions, ASecondThreadInsideGetsBusy) {
  const Engine engine = make_engine(2);
  const Model model = load_model(engine, tiny_path());
  const Session session = make_session(model, 256, MINNOW_KV_F32, 16);
  minnow_session* s = session.get();
  prefill(session, {5, 6});
  Gate gate;
  const std::vector<int32_t> tokens = some_tokens(100);
  minnow_status outcome = MINNOW_INTERNAL;
  std::thread inside(
      [&] { outcome = minnow_prefill(s, tokens.data(), tokens.size(), &Gate::report, &gate); });
  gate.wait_until_inside();
  const int32_t token = 5;
  float score = 0.0f;
  const float* logits = nullptr;
  size_t count = 0;
  minnow_session* fork = nullptr;
  minnow_session_stats stats{};
  stats.struct_size = sizeof stats;
  const minnow_generate_params p = greedy_params(1);
  const minnow_status results[] = {
      minnow_prefill(s, &token, 1, nullptr, nullptr),
      minnow_decode(s, token),
      minnow_logits(s, &logits, &count),
      minnow_score(s, &token, 1, &score),
      minnow_prefill_logits(
          s, &token, 1, [](void*, size_t, const float*, size_t) { return 0; }, nullptr),
      minnow_session_rewind(s, 0),
      minnow_session_fork(s, &fork),
      minnow_session_get_stats(s, &stats),
      minnow_generate(s, &p, nullptr, nullptr, nullptr),
      minnow_generate_tokens(s, &token, 1, &p, nullptr, nullptr, nullptr),
      minnow_generate_text(s, "a", &p, nullptr, nullptr, nullptr),
  };
  for (size_t i = 0; i < std::size(results); ++i) EXPECT_EQ(results[i], MINNOW_BUSY) << "call " << i;
  EXPECT_EQ(minnow_session_position(s), 2u);
  EXPECT_EQ(minnow_session_context(s), 256u);
  gate.open();
  inside.join();
  EXPECT_EQ(outcome, MINNOW_OK);
  EXPECT_EQ(minnow_session_position(s), 102u);
  EXPECT_EQ(minnow_decode(s, token), MINNOW_OK);
}

TEST(Sessions, ManyThreadsOnOneSessionLoseNothing) {
  const Engine engine = make_engine(1);
  const Model model = load_model(engine, tiny_path());
  const Session session = make_session(model, 512);
  std::atomic<uint32_t> appended{0}, wrong{0};
  std::vector<std::thread> workers;
  for (int t = 0; t < 3; ++t) {
    workers.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        const minnow_status status = minnow_decode(session.get(), 5);
        if (status == MINNOW_OK) {
          ++appended;
        } else if (status != MINNOW_BUSY) {
          ++wrong;
        }
        if (minnow_session_position(session.get()) > 512) ++wrong;
      }
    });
  }
  for (std::thread& t : workers) t.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(appended, 0u);
  EXPECT_EQ(minnow_session_position(session.get()), appended);
}

TEST(Sessions, CancelFromAnotherThread) {
  const Engine engine = make_engine(2);
  const Model model = load_model(engine, tiny_path());
  const Session session = make_session(model, 512, MINNOW_KV_F32, 16);
  const std::vector<int32_t> tokens = some_tokens(500);
  Gate gate;
  minnow_status outcome = MINNOW_OK;
  std::thread inside(
      [&] { outcome = minnow_prefill(session.get(), tokens.data(), tokens.size(), &Gate::report, &gate); });
  gate.wait_until_inside();
  minnow_session_cancel(session.get());
  gate.open();
  inside.join();
  EXPECT_EQ(outcome, MINNOW_CANCELLED);
  EXPECT_EQ(minnow_session_position(session.get()), 0u);  // the first chunk was not finished
  EXPECT_EQ(minnow_prefill(session.get(), tokens.data(), tokens.size(), nullptr, nullptr), MINNOW_OK);
  EXPECT_EQ(minnow_session_position(session.get()), 500u);
}

TEST(Sessions, CancelAtAnyMomentIsSafe) {
  const Engine engine = make_engine(1);
  const Model model = load_model(engine, tiny_path());
  std::atomic<bool> done{false};
  const Session session = make_session(model, 512, MINNOW_KV_F32, 8);
  std::thread canceller([&] {
    while (!done) {
      minnow_session_cancel(session.get());
      std::this_thread::yield();
    }
  });
  const std::vector<int32_t> tokens = some_tokens(40);
  std::vector<float> scores(tokens.size());
  for (int i = 0; i < 20; ++i) {
    const minnow_status prefilled =
        minnow_prefill(session.get(), tokens.data(), tokens.size(), nullptr, nullptr);
    // The first of these makes the session's decoder anew, for several rows of logits.
    const minnow_status scored = minnow_score(session.get(), tokens.data(), tokens.size(), scores.data());
    EXPECT_TRUE(prefilled == MINNOW_OK || prefilled == MINNOW_CANCELLED) << minnow_last_error();
    EXPECT_TRUE(scored == MINNOW_OK || scored == MINNOW_CANCELLED) << minnow_last_error();
    EXPECT_EQ(minnow_session_rewind(session.get(), 0), MINNOW_OK);
  }
  done = true;
  canceller.join();
  EXPECT_EQ(minnow_prefill(session.get(), tokens.data(), tokens.size(), nullptr, nullptr), MINNOW_OK);
}

}  // namespace
}  // namespace minnow::testing
