#include "base/thread_pool.h"

#include <pthreadpool.h>

#include <algorithm>
#include <atomic>

#include "base/cpu.h"

// pthreadpool comes uninstrumented from the system, so ThreadSanitizer cannot see that it orders the
// caller before the workers and the workers before the caller's return. These two say so.
#if defined(__SANITIZE_THREAD__)
#define MINNOW_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MINNOW_TSAN 1
#endif
#endif
#if defined(MINNOW_TSAN)
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
#define MINNOW_ACQUIRE(address) __tsan_acquire(address)
#define MINNOW_RELEASE(address) __tsan_release(address)
#else
#define MINNOW_ACQUIRE(address) (void)(address)
#define MINNOW_RELEASE(address) (void)(address)
#endif

namespace minnow {
namespace {

struct Region {
  void (*function)(void*, size_t, size_t, uint32_t);
  void* context;
  size_t count, grain;
  size_t shares;  // a piece is the rest by this, or the grain
  std::atomic<size_t> next{0};
  char fork = 0, join = 0;  // addresses for the annotations
};

void work(void* argument, size_t slot) {
  auto& region = *static_cast<Region*>(argument);
  MINNOW_ACQUIRE(&region.fork);
  size_t begin = region.next.load(std::memory_order_relaxed);
  while (begin < region.count) {
    const size_t left = region.count - begin;
    const size_t take =
        std::min(left, std::max(region.grain, left / region.shares / region.grain * region.grain));
    if (!region.next.compare_exchange_weak(begin, begin + take, std::memory_order_relaxed)) continue;
    region.function(region.context, begin, begin + take, static_cast<uint32_t>(slot));
    begin = region.next.load(std::memory_order_relaxed);
  }
  MINNOW_RELEASE(&region.join);
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
  MINNOW_RELEASE(&region.fork);
  // One item a thread; the items share a counter, so it does not matter which thread takes which.
  pthreadpool_parallelize_1d(pool_, &work, &region, slots, PTHREADPOOL_FLAG_DISABLE_DENORMALS);
  MINNOW_ACQUIRE(&region.join);
}

}  // namespace minnow
