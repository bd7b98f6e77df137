// What the opaque handles of minnow.h hold, and the guard every call goes through.
#pragma once

#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "exec/decoder.h"
#include "format/container.h"
#include "minnow/minnow.h"
#include "model/plan.h"
#include "model/weights.h"
#include "text/tokenizer.h"

namespace minnow::api {

struct Engine {
  std::unique_ptr<ThreadPool> pool;
  uint32_t isa = 0;
  std::string cpu;
};

struct Model {
  std::shared_ptr<Engine> engine;
  std::unique_ptr<format::Container> container;  // the others point into it
  std::unique_ptr<model::Weights> weights;
  std::unique_ptr<model::Plan> plan;
  std::unique_ptr<const text::Tokenizer> tokenizer;  // null: token ids only
  std::string chat_format;

  /// Measured when a session first runs sparse.
  Result<exec::ListingLimits> listing_limits();

  const format::Config& config() const { return container->metadata().config; }
  bool is_eos(int32_t token) const;

 private:
  std::mutex listing_mutex_;
  std::optional<exec::ListingLimits> listing_;
};

/// Maps, checks and plans a model. Shared by the load calls and minnow_plan().
Result<std::shared_ptr<Model>> open_model(std::shared_ptr<Engine> engine, MappedFile file,
                                          bool with_tokenizer);

constexpr uint32_t kEngineMagic = 0x6d6e6567, kModelMagic = 0x6d6e6d6f, kSessionMagic = 0x6d6e7365;

/// Keeps `status` as the thread's last error and returns its code.
minnow_status keep(const Status& status);

/// Runs a call's body (returning Status) and turns everything that can go wrong into a status.
template <typename Body>
minnow_status guard(Body&& body) noexcept {
  try {
    return keep(body());
  } catch (const std::bad_alloc&) {
    return keep(Status(Code::no_memory, ""));
  } catch (...) {
    return keep(Status(Code::internal, ""));
  }
}

template <typename Handle>
Status check_handle(const Handle* handle, uint32_t magic, const char* what) {
  if (handle == nullptr) return fail(Code::invalid_argument, "the ", what, " is NULL");
  if (handle->magic != magic) return fail(Code::invalid_argument, "this is not a living ", what);
  return {};
}

inline Status check_pointer(const void* pointer, const char* what) {
  return pointer == nullptr ? fail(Code::invalid_argument, what, " is NULL") : Status();
}

/// The caller's parameters over the defaults; a caller built against an older header gives fewer.
template <typename Params>
Result<Params> read_params(const Params* given, Params params, const char* what) {
  if (given == nullptr) return params;
  const size_t size = given->struct_size;
  if (size < sizeof(size_t) || size > sizeof(Params)) {
    return fail(Code::invalid_argument, what, ".struct_size is ", size, ", this minnow knows ",
                sizeof(Params), "; fill the struct with its _default() function");
  }
  std::memcpy(&params, given, size);
  return params;
}

/// Writes a result struct, as much of it as the caller's header knows.
template <typename Report>
Status write_report(Report* out, Report report, const char* what) {
  if (out == nullptr) return fail(Code::invalid_argument, what, " is NULL");
  const size_t size = out->struct_size;
  if (size < sizeof(size_t))
    return fail(Code::invalid_argument, what, ".struct_size is ", size, "; set it to sizeof(*", what, ")");
  report.struct_size = size;
  std::memcpy(out, &report, size < sizeof(Report) ? size : sizeof(Report));
  return {};
}

}  // namespace minnow::api

struct minnow_engine {
  uint32_t magic = minnow::api::kEngineMagic;
  std::shared_ptr<minnow::api::Engine> impl;
};

struct minnow_model {
  uint32_t magic = minnow::api::kModelMagic;
  std::shared_ptr<minnow::api::Model> impl;
};

struct minnow_session {
  uint32_t magic = minnow::api::kSessionMagic;
  std::shared_ptr<minnow::api::Model> model;
  minnow_session_params params{};
  minnow::exec::DecoderOptions options;
  std::unique_ptr<minnow::exec::Decoder> decoder;
  /// Every token of the sequence. The last one may not have gone through the decoder yet.
  std::vector<int32_t> tokens;
  bool has_logits = false;  ///< those behind tokens.back(), once nothing is pending
  mutable std::atomic<minnow::exec::RunState> state{minnow::exec::RunState::idle};
  mutable std::atomic<uint32_t> position{0};  ///< tokens.size(), for threads that only ask
  uint64_t prefilled = 0, decoded = 0;
  double prefill_seconds = 0.0, decode_seconds = 0.0;

  bool pending() const { return tokens.size() > decoder->position(); }
  void publish_position() const {
    position.store(static_cast<uint32_t>(tokens.size()), std::memory_order_relaxed);
  }
};

namespace minnow::api {

/// Marks a session as entered by this thread; `ok()` is false when another one is inside.
class Entry {
 public:
  explicit Entry(const minnow_session& s) : session_(s) {
    auto idle = exec::RunState::idle;
    entered_ = s.state.compare_exchange_strong(idle, exec::RunState::running, std::memory_order_acquire);
  }
  ~Entry() {
    if (!entered_) return;
    session_.publish_position();
    session_.state.store(exec::RunState::idle, std::memory_order_release);
  }
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;
  Status status() const {
    return entered_
               ? Status()
               : fail(Code::busy, "another call is inside this session; use one session a thread, or wait");
  }

 private:
  const minnow_session& session_;
  bool entered_;
};

/// Appends tokens to a session that the caller has entered.
Status append_tokens(minnow_session& s, std::span<const int32_t> tokens, exec::LogitsSink* sink,
                     exec::Progress progress);
/// Makes the logits behind the last token be there, if need be (after a rewind) by running it again.
Status restore_logits(minnow_session& s);
/// Seconds of a clock that only goes forward.
double now();

}  // namespace minnow::api
