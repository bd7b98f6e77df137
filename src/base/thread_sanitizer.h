// What ThreadSanitizer has to be told; nothing in builds without it.
#pragma once

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
extern "C" void AnnotateIgnoreWritesBegin(const char* file, int line);
extern "C" void AnnotateIgnoreWritesEnd(const char* file, int line);
#endif

namespace minnow {

/// Everything before a release happens before what comes after an acquire of the same address.
inline void tsan_acquire([[maybe_unused]] void* address) {
#if defined(MINNOW_TSAN)
  __tsan_acquire(address);
#endif
}
inline void tsan_release([[maybe_unused]] void* address) {
#if defined(MINNOW_TSAN)
  __tsan_release(address);
#endif
}

/// While it lives, writes of this thread are no races.
struct TsanIgnoresWrites {
  TsanIgnoresWrites() {
#if defined(MINNOW_TSAN)
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
#endif
  }
  ~TsanIgnoresWrites() {
#if defined(MINNOW_TSAN)
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
#endif
  }
  TsanIgnoresWrites(const TsanIgnoresWrites&) = delete;
  TsanIgnoresWrites& operator=(const TsanIgnoresWrites&) = delete;
};

}  // namespace minnow
