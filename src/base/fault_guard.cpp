#include "base/fault_guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <new>

#include "base/file.h"
#include "base/thread_sanitizer.h"

namespace minnow {

/// The process's guarded ranges, and what was there to handle SIGBUS before.
struct FaultTable {
  using Slot = FaultGuard::Slot;
  static inline std::atomic<Slot*> head{nullptr};
  static inline struct sigaction previous {};
  static inline uintptr_t page = 0;

  static_assert(std::atomic<Slot*>::is_always_lock_free && std::atomic<uintptr_t>::is_always_lock_free &&
                    std::atomic<uint32_t>::is_always_lock_free && std::atomic<bool>::is_always_lock_free,
                "a signal handler takes no locks");

  static Slot* take() {
    for (Slot* s = head.load(std::memory_order_acquire); s != nullptr; s = s->next) {
      bool taken = false;
      if (s->taken.compare_exchange_strong(taken, true, std::memory_order_acquire)) return s;
    }
    auto* s = new (std::nothrow) Slot;
    if (s == nullptr) return nullptr;
    s->next = head.load(std::memory_order_relaxed);
    while (!head.compare_exchange_weak(s->next, s, std::memory_order_release, std::memory_order_relaxed)) {
    }
    return s;
  }

  /// Sequentially consistent throughout: this is rare, and a handler must not see half of it.
  static void set(Slot* s, uintptr_t begin, uintptr_t end) {
    s->version.fetch_add(1);
    s->begin.store(begin);
    s->end.store(end);
    s->version.fetch_add(1);
  }

  /// The slot of the range around an address. One that changes meanwhile is another's: whoever faults keeps
  /// its own mapped.
  static Slot* find(uintptr_t address) {
    for (Slot* s = head.load(); s != nullptr; s = s->next) {
      const uint32_t version = s->version.load();
      const uintptr_t begin = s->begin.load(), end = s->end.load();
      if (version % 2 == 0 && s->version.load() == version && address >= begin && address < end) return s;
    }
    return nullptr;
  }

  static bool replace_page(uintptr_t address) {
    Slot* slot = find(address);
    if (slot == nullptr) return false;
    void* at = reinterpret_cast<void*>(address / page * page);
    // TSan takes a new mapping for a write to all of it. Threads that fault on one page at a time do race, as
    // one's zeros may come over what another has written; all of it is lost already.
    const TsanIgnoresWrites ignored;
    if (::mmap(at, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
        MAP_FAILED) {
      return false;
    }
    slot->failed.store(true, std::memory_order_relaxed);
    return true;
  }

  static void pass_on(int signal, siginfo_t* info, void* context, bool fault) {
    const bool ignored = previous.sa_handler == SIG_IGN;
    if (ignored && !fault) return;
    if (ignored || previous.sa_handler == SIG_DFL) {  // a fault that is ignored ends the process too
      struct sigaction by_default {};
      by_default.sa_handler = SIG_DFL;
      ::sigaction(SIGBUS, &by_default, nullptr);
      if (!fault) ::kill(::getpid(), signal);  // a fault comes again by itself
      return;
    }
    if ((previous.sa_flags & SA_SIGINFO) != 0) return previous.sa_sigaction(signal, info, context);
    previous.sa_handler(signal);
  }

  static void on_fault(int signal, siginfo_t* info, void* context) {
    bool fault = info->si_code > 0;  // by the system, not by kill()
    bool by_access = info->si_code == BUS_ADRERR;
#ifdef BUS_MCEERR_AR
    by_access = by_access || info->si_code == BUS_MCEERR_AR;
    fault = fault && info->si_code != BUS_MCEERR_AO;  // bad memory that nobody has read yet
#endif
    const int saved = errno;
    if (by_access && replace_page(reinterpret_cast<uintptr_t>(info->si_addr))) {
      errno = saved;
      return;
    }
    pass_on(signal, info, context, fault);
    errno = saved;
  }

  static int install() {
    page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
    if (::sigaction(SIGBUS, nullptr, &previous) != 0) return errno;
    // Whoever was there finds the mask and stack it asked for.
    struct sigaction ours {};
    ours.sa_sigaction = on_fault;
    ours.sa_mask = previous.sa_mask;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | (previous.sa_flags & (SA_NODEFER | SA_RESTART));
    return ::sigaction(SIGBUS, &ours, nullptr) == 0 ? 0 : errno;
  }
};

Result<FaultGuard> FaultGuard::create(const void* begin, uint64_t size) {
  static const int error = FaultTable::install();
  if (error != 0) return fail(Code::io, "cannot install a handler of SIGBUS: ", os_error(error));
  FaultGuard out;
  out.slot_ = FaultTable::take();
  if (out.slot_ == nullptr) return fail(Code::no_memory, "cannot get memory to guard a mapped file");
  out.slot_->failed.store(false, std::memory_order_relaxed);
  const auto first = reinterpret_cast<uintptr_t>(begin);
  FaultTable::set(out.slot_, first, first + size);
  return out;
}

FaultGuard::~FaultGuard() {
  if (slot_ == nullptr) return;
  FaultTable::set(slot_, 0, 0);
  slot_->taken.store(false, std::memory_order_release);
}

}  // namespace minnow
