// Mapped pages that the system cannot read or write. It says so by SIGBUS, which ends a process; a guarded
// range gets zeros in their place and is marked instead, so that whoever owns it can fail in good order.
//
// The handler is the process's: it is installed with the first guard, never before, and stays. Faults
// outside guarded ranges, and SIGBUS that somebody sent, go to the handler that was there, or end the process
// as they would have. A program that installs its own afterwards calls the one it found for what is not its
// own. A thread that blocks SIGBUS is ended by a fault all the same: the system does not ask. The same method
// as systemd's journal: src/basic/sigbus.c.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "base/status.h"

namespace minnow {

/// Guards one range of whole pages, which the owner maps before and unmaps after. Move-only.
class FaultGuard {
 public:
  FaultGuard() = default;
  FaultGuard(FaultGuard&& other) noexcept : slot_(std::exchange(other.slot_, nullptr)) {}
  FaultGuard& operator=(FaultGuard&& other) noexcept {
    std::swap(slot_, other.slot_);
    return *this;
  }
  FaultGuard(const FaultGuard&) = delete;
  FaultGuard& operator=(const FaultGuard&) = delete;
  ~FaultGuard();

  /// Of mapped memory that may be read and written. Errors: io (no handler may be installed), no_memory.
  static Result<FaultGuard> create(const void* begin, uint64_t size);
  /// A page of the range could not be read or written, at any time since. Any thread.
  bool failed() const { return slot_ != nullptr && slot_->failed.load(std::memory_order_relaxed); }
  /// The owner found out by itself.
  void mark() const {
    if (slot_ != nullptr) slot_->failed.store(true, std::memory_order_relaxed);
  }

 private:
  friend struct FaultTable;
  /// An entry of the handler's list. Never freed, as the handler may be looking at it; used again.
  struct Slot {
    std::atomic<uint32_t> version{0};  ///< odd while begin and end change
    std::atomic<uintptr_t> begin{0}, end{0};
    std::atomic<bool> failed{false}, taken{true};
    Slot* next = nullptr;
  };
  Slot* slot_ = nullptr;
};

}  // namespace minnow
