// Overflow-checked arithmetic on sizes that come from outside (files, callers).
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>

namespace minnow {

template <std::unsigned_integral T>
constexpr std::optional<T> checked_add(T a, T b) {
  T r;
  if (__builtin_add_overflow(a, b, &r)) return std::nullopt;
  return r;
}

template <std::unsigned_integral T>
constexpr std::optional<T> checked_mul(T a, T b) {
  T r;
  if (__builtin_mul_overflow(a, b, &r)) return std::nullopt;
  return r;
}

/// True when [offset, offset + size) lies inside [0, limit), without overflow.
constexpr bool range_fits(uint64_t offset, uint64_t size, uint64_t limit) {
  return offset <= limit && size <= limit - offset;
}

/// Smallest multiple of `step` (a power of two) that is >= v; v must be far below the type's end.
template <std::unsigned_integral T>
constexpr T round_up(T v, T step) {
  return (v + step - 1) & ~(step - 1);
}

template <std::unsigned_integral T>
constexpr T ceil_div(T a, T b) {
  return (a + b - 1) / b;
}

}  // namespace minnow
