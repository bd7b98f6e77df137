// ThreadPool: every index exactly once, slots that nobody shares.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "base/thread_pool.h"

namespace minnow {
namespace {

std::unique_ptr<ThreadPool> pool_of(uint32_t threads) {
  auto pool = ThreadPool::create(threads);
  EXPECT_TRUE(pool.ok());
  return std::move(pool).value();
}

TEST(ThreadPool, EveryIndexExactlyOnce) {
  for (const uint32_t threads : {1u, 2u, 3u, 7u}) {
    const auto pool = pool_of(threads);
    EXPECT_EQ(pool->threads(), threads);
    for (const size_t count : {0, 1, 2, 3, 7, 8, 63, 64, 65, 1000}) {
      for (const size_t grain : {0, 1, 2, 5, 64, 4096}) {
        std::vector<int> seen(count);  // plain on purpose: two threads at one index are a race
        std::atomic<bool> good{true};
        pool->parallel_for(count, grain, [&](size_t begin, size_t end, uint32_t slot) {
          if (begin >= end || end > count || slot >= threads) good = false;
          for (size_t i = begin; i < end; ++i) ++seen[i];
        });
        EXPECT_TRUE(good);
        EXPECT_EQ(seen, std::vector<int>(count, 1))
            << threads << " threads, count " << count << ", grain " << grain;
      }
    }
  }
}

TEST(ThreadPool, SlotsAreNotSharedWhileABodyRuns) {
  const auto pool = pool_of(4);
  std::atomic<int> users[4] = {};
  std::atomic<int> clashes{0}, done{0};
  for (int round = 0; round < 50; ++round) {
    pool->parallel_for(200, 1, [&](size_t begin, size_t end, uint32_t slot) {
      if (users[slot].fetch_add(1) != 0) ++clashes;
      std::this_thread::yield();
      users[slot].fetch_sub(1);
      done += static_cast<int>(end - begin);
    });
  }
  EXPECT_EQ(clashes, 0);
  EXPECT_EQ(done, 50 * 200);
}

TEST(ThreadPool, CallersTakeTurns) {
  const auto pool = pool_of(2);
  std::vector<std::vector<int>> sums(3, std::vector<int>(100));
  std::atomic<int> users[2] = {};
  std::atomic<int> clashes{0};
  std::vector<std::thread> callers;
  for (std::vector<int>& mine : sums) {
    callers.emplace_back([&] {
      for (int round = 0; round < 30; ++round) {
        pool->parallel_for(mine.size(), 10, [&](size_t begin, size_t end, uint32_t slot) {
          if (users[slot].fetch_add(1) != 0) ++clashes;
          for (size_t i = begin; i < end; ++i) ++mine[i];
          users[slot].fetch_sub(1);
        });
      }
    });
  }
  for (std::thread& t : callers) t.join();
  EXPECT_EQ(clashes, 0);
  for (const auto& s : sums) EXPECT_EQ(s, std::vector<int>(100, 30));
}

TEST(ThreadPool, RefusesTooManyThreads) {
  auto pool = ThreadPool::create(257);
  ASSERT_FALSE(pool.ok());
  EXPECT_EQ(pool.status().code(), Code::invalid_argument);
  EXPECT_GE(pool_of(0)->threads(), 1u);
}

}  // namespace
}  // namespace minnow
