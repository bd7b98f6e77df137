// Status and Result: how every fallible function of minnow reports failure.
//
// Goals: the message says what was wrong, where, and what to do; codes are the pinned values of
// minnow_status in minnow.h, so that the C API passes them through unchanged.
// Non-goals: stack traces, error chaining beyond a context prefix.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace minnow {

/// Values equal those of minnow_status (checked by static_assert in src/api/status.cpp).
enum class Code : int32_t {
  ok = 0,
  invalid_argument = 1,  ///< the caller passed something out of range
  not_found = 2,         ///< a file, tensor or token that should exist does not
  io = 3,                ///< the operating system refused to read or write
  corrupt = 4,           ///< the bytes contradict themselves or their checksum
  unsupported = 5,       ///< well-formed, but minnow does not implement it
  no_memory = 6,
  cancelled = 7,
  busy = 8,          ///< another thread is inside this session
  context_full = 9,  ///< the KV cache has no room for the tokens
  bad_state = 10,    ///< the call does not fit the object's present state
  internal = 11,     ///< a bug in minnow
};

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == Code::ok; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }

  /// The same failure, with "where: " put before the message.
  Status within(std::string_view where) && {
    if (!ok()) message_.insert(0, std::string(where) + ": ");
    return std::move(*this);
  }

 private:
  Code code_ = Code::ok;
  std::string message_;
};

namespace detail {
inline void append(std::string& s, std::string_view v) {
  s.append(v);
}
inline void append(std::string& s, const char* v) {
  s.append(v);
}
template <typename T>
requires(std::is_arithmetic_v<T>) void append(std::string& s, T v) {
  if constexpr (std::is_same_v<T, bool>) {
    s.append(v ? "true" : "false");
  } else if constexpr (std::is_same_v<T, char>) {
    s.push_back(v);
  } else {
    s.append(std::to_string(v));
  }
}
}  // namespace detail

/// Concatenates strings and numbers: cat("tensor '", name, "' has ", n, " rows").
template <typename... Args>
std::string cat(const Args&... args) {
  std::string s;
  (detail::append(s, args), ...);
  return s;
}

/// A failure with a message made by cat().
template <typename... Args>
Status fail(Code code, const Args&... args) {
  return Status(code, cat(args...));
}

/// A value or the Status that says why there is none. T may be move-only.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  Result(Status status) : status_(std::move(status)) {}

  bool ok() const { return value_.has_value(); }
  const Status& status() const& { return status_; }
  Status&& status() && { return std::move(status_); }
  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return std::move(*value_); }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  std::optional<T> value_;
  Status status_;
};

#define MINNOW_CONCAT_(a, b) a##b
#define MINNOW_CONCAT(a, b) MINNOW_CONCAT_(a, b)

/// Returns the failure of `expr` (a Status) from the enclosing function.
#define MINNOW_TRY(expr)                             \
  do {                                               \
    ::minnow::Status minnow_status_ = (expr);        \
    if (!minnow_status_.ok()) return minnow_status_; \
  } while (0)

/// Declares or sets `lhs` from the value of `expr` (a Result), or returns its failure. Several
/// statements: give it braces after an if.
#define MINNOW_ASSIGN(lhs, expr) MINNOW_ASSIGN_(MINNOW_CONCAT(minnow_result_, __LINE__), lhs, expr)
#define MINNOW_ASSIGN_(tmp, lhs, expr)           \
  auto tmp = (expr);                             \
  if (!tmp.ok()) return std::move(tmp).status(); \
  lhs = std::move(tmp).value()

}  // namespace minnow
