// Where things are that somebody asks for: a bit for each of 64, bits make a list. An ISA file brings a Look,
// which says of 64 elements at a time which of them it wants: bits(), and lists more than kFew bits: list().
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace {

static constexpr size_t kTurn = 64;
// Looks run this many turns ahead of the list: a jump that was foreseen wrongly then waits for none of them.
static constexpr size_t kAhead = 16;
static constexpr size_t kFew = 4;

// Four entries from the lowest bits, whether there are as many or not.
static inline uint64_t list_four(uint32_t* list, uint32_t base, uint64_t bits) {
  for (size_t i = 0; i < 4; ++i) {
    list[i] = base + (uint32_t)__builtin_ctzll(bits | (uint64_t)1 << 63);
    bits &= bits - 1;
  }
  return bits;
}

// list() for machines that have nothing better.
static inline void list_fours(uint32_t* list, uint32_t base, uint64_t bits) {
  for (; bits != 0; list += 4) bits = list_four(list, base, bits);
}

template <class Look, class Element>
static inline uint64_t bits_where(const Look& look, const Element* from, size_t left) {
  if (left >= kTurn) return look.bits(from);
  Element rest[kTurn] = {};
  memcpy(rest, from, left * sizeof rest[0]);
  return look.bits(rest) & (((uint64_t)1 << left) - 1);
}

// base + i for every wanted element i of n, ascending; returns how many. Writes as far as n rounded up to
// kTurn.
template <class Look, class Element>
static inline size_t list_where(const Look& look, const Element* from, size_t n, uint32_t base,
                                uint32_t* list) {
  size_t count = 0;
  for (size_t i = 0; i < n; i += kAhead * kTurn) {
    uint64_t bits[kAhead];
    size_t turns = 0;
    for (size_t at = i; turns < kAhead && at < n; ++turns, at += kTurn)
      bits[turns] = bits_where(look, from + at, n - at);
    for (size_t t = 0; t < turns; ++t) {
      uint32_t* to = list + count;
      const uint32_t first = base + (uint32_t)(i + t * kTurn);
      const size_t found = (size_t)__builtin_popcountll(bits[t]);
      // Whether there are none is not asked: nobody can foresee it, and four entries cost less than that.
      if (found <= kFew)
        list_four(to, first, bits[t]);
      else
        Look::list(to, first, bits[t]);
      count += found;
    }
  }
  return count;
}

}  // namespace
