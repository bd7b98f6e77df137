// One pool of threads an engine, shared by its sessions (pthreadpool underneath).
//
// parallel_for cuts [0, count) into pieces that the threads take as they become free, large ones first and
// multiples of `grain` at the end: each thread streams long runs of memory (pieces of 128 KB reach three
// quarters of the speed of pieces of 8 MB), and all finish together although they run at different speeds.
// Calls from several threads are serialised by the pool. The body must not throw and must not call
// parallel_for itself.
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
    run_body(count, grain, true, body);
  }

  /// The same for items that are cut already: one at a time, in order.
  template <typename Body>
  void parallel_for_each(size_t count, Body&& body) {
    run_body(count, 1, false, body);
  }

 private:
  template <typename Body>
  void run_body(size_t count, size_t grain, bool guided, Body& body) {
    using Plain = std::remove_reference_t<Body>;
    run(
        count, grain, guided,
        [](void* context, size_t begin, size_t end, uint32_t slot) {
          (*static_cast<Plain*>(context))(begin, end, slot);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

  using Function = void (*)(void* context, size_t begin, size_t end, uint32_t slot);
  ThreadPool(pthreadpool* pool, uint32_t threads) : pool_(pool), threads_(threads) {}
  void run(size_t count, size_t grain, bool guided, Function function, void* context);

  pthreadpool* pool_;
  uint32_t threads_;
};

}  // namespace minnow
