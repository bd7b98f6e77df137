// One pool of threads an engine, shared by its sessions (pthreadpool underneath).
//
// parallel_for cuts [0, count) into pieces of `grain` that the threads take as they become free, so
// that they finish together although they run at different speeds. Calls from several threads are
// serialised by the pool. The body must not throw and must not call parallel_for itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

#include "base/status.h"

struct pthreadpool;

namespace minnow {

class ThreadPool {
 public:
  /// 0 threads: default_thread_count(). Errors: no_memory, more than 256 threads asked for.
  static Result<std::unique_ptr<ThreadPool>> create(uint32_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  uint32_t threads() const { return threads_; }

  /// body(begin, end, slot): slot < threads() names scratch that no other running body uses.
  template <typename Body>
  void parallel_for(size_t count, size_t grain, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    run(
        count, grain,
        [](void* context, size_t begin, size_t end, uint32_t slot) {
          (*static_cast<Plain*>(context))(begin, end, slot);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  using Function = void (*)(void* context, size_t begin, size_t end, uint32_t slot);
  ThreadPool(pthreadpool* pool, uint32_t threads) : pool_(pool), threads_(threads) {}
  void run(size_t count, size_t grain, Function function, void* context);

  pthreadpool* pool_;
  uint32_t threads_;
};

}  // namespace minnow
