#include "base/thread_pool.h"

#include <pthreadpool.h>

#include <algorithm>
#include <atomic>

#include "base/cpu.h"
#include "base/thread_sanitizer.h"

namespace minnow {
namespace {

struct Region {
  void (*function)(void*, size_t, size_t, uint32_t);
  void* context;
  size_t count, grain;
  size_t shares;  // a piece is the rest by this, or the grain
  std::atomic<size_t> next{0};
  // pthreadpool comes uninstrumented from the system, so ThreadSanitizer cannot see that it orders the caller
  // before the workers and the workers before the caller's return: addresses to say so with.
  char fork = 0, join = 0;
};

void work(void* argument, size_t slot) {
  auto& region = *static_cast<Region*>(argument);
  tsan_acquire(&region.fork);
  size_t begin = region.next.load(std::memory_order_relaxed);
  while (begin < region.count) {
    const size_t left = region.count - begin;
    const size_t take =
        std::min(left, std::max(region.grain, left / region.shares / region.grain * region.grain));
    if (!region.next.compare_exchange_weak(begin, begin + take, std::memory_order_relaxed)) continue;
    region.function(region.context, begin, begin + take, static_cast<uint32_t>(slot));
    begin = region.next.load(std::memory_order_relaxed);
  }
  tsan_release(&region.join);
}

}  // namespace

Result<std::unique_ptr<ThreadPool>> ThreadPool::create(uint32_t threads) {
  if (threads > 256)
    return fail(Code::invalid_argument, threads, " threads asked for; at most 256 make sense");
  if (threads == 0) threads = default_thread_count();
  pthreadpool* pool = nullptr;
  if (threads > 1) {
    pool = pthreadpool_create(threads);
    if (pool == nullptr) return fail(Code::no_memory, "cannot start ", threads, " threads; ask for fewer");
  }
  return std::unique_ptr<ThreadPool>(new ThreadPool(pool, threads));
}

ThreadPool::~ThreadPool() {
  if (pool_ != nullptr) pthreadpool_destroy(pool_);
}

void ThreadPool::run(size_t count, size_t grain, bool guided, Function function, void* context) {
  if (count == 0) return;
  grain = std::max<size_t>(grain, 1);
  const size_t slots = std::min<size_t>(threads_, (count + grain - 1) / grain);
  if (slots == 1) {
    function(context, 0, count, 0);
    return;
  }
  Region region{function, context, count, grain, guided ? slots * 2 : count};
  tsan_release(&region.fork);
  // One item a thread; the items share a counter, so it does not matter which thread takes which.
  pthreadpool_parallelize_1d(pool_, &work, &region, slots, PTHREADPOOL_FLAG_DISABLE_DENORMALS);
  tsan_acquire(&region.join);
}

}  // namespace minnow
