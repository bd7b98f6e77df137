// Sessions with their KV in files on several threads at once, some of which lose theirs.
#include <atomic>
#include <thread>

#include "support/disk.h"
#include "support/fixtures.h"

namespace minnow::testing {
namespace {

TEST(KvFiles, OfSeveralThreadsFailAlone) {
  MINNOW_NEEDS_DISK(dir);
  constexpr size_t kThreads = 4;
  const Engine engine = make_engine(2);
  const Model model = load_model(engine, tiny_path());
  const auto tokens = some_tokens(60);
  minnow_session_params p = minnow_session_params_default();
  p.context = 128;
  p.kv_budget = 1;
  p.kv_dir = dir.path().c_str();
  const auto session = [&] {
    minnow_session* s = nullptr;
    EXPECT_EQ(minnow_session_create(model.get(), &p, &s), MINNOW_OK) << minnow_last_error();
    return Session(s);
  };
  const auto run = [&](const Session& s) {
    EXPECT_EQ(minnow_prefill(s.get(), tokens.data(), tokens.size(), nullptr, nullptr), MINNOW_OK);
    return logits_of(s);
  };
  const std::vector<float> expected = run(make_session(model, 128, MINNOW_KV_F16));
  // Every thread makes sessions and ends them, while one that is cut short faults again and again.
  const Session broken = session();
  run(broken);
  for (const int fd : nameless_files(dir.path())) ASSERT_EQ(::ftruncate(fd, 0), 0);
  std::atomic<bool> stop{false};
  std::atomic<int> good{0}, failures{0};
  std::thread failing([&] {
    while (!stop) failures += minnow_decode(broken.get(), 5) == MINNOW_IO;
  });
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5; ++i) {
        const Session s = session();
        good += run(s) == expected;
        minnow_session* f = nullptr;
        if (minnow_session_fork(s.get(), &f) != MINNOW_OK) continue;
        const Session fork(f);
        good += minnow_decode(fork.get(), 7) == MINNOW_OK;
      }
    });
  }
  for (std::thread& t : threads) t.join();
  while (failures == 0) std::this_thread::yield();
  stop = true;
  failing.join();
  EXPECT_EQ(good, 10 * int{kThreads});
  EXPECT_GT(failures, 0);
}

}  // namespace
}  // namespace minnow::testing
