// Loops whose steps are known when compiling.
#pragma once

namespace {

template <int n>
struct Int {
  static constexpr int value = n;
  constexpr operator int() const { return n; }
};

// f(Int<first>), ..., f(Int<end - 1>): shifts need their counts at compile time, and GCC 12 keeps an array
// of sums in memory where a loop goes over it.
template <int first, int end, class Body>
__attribute__((always_inline)) static inline void unroll(const Body& f) {
  if constexpr (first < end) {
    f(Int<first>());
    unroll<first + 1, end>(f);
  }
}

// f(Int<r>, Int<v>) for every r below kRows, and for each of them every v below kVecs.
template <int kRows, int kVecs, class Body>
__attribute__((always_inline)) static inline void unroll_block(const Body& f) {
  unroll<0, kRows>([&](auto r) __attribute__((always_inline)) {
    unroll<0, kVecs>([&](auto v) __attribute__((always_inline)) { f(r, v); });
  });
}

}  // namespace
