// The body of the SIMD variants: a table lookup makes a bit of each of 64 ids, bits make the list. An ISA
// file brings a Lookup, which keeps the bitmap in registers: bits() looks 64 ids up, list() lists more than
// kFew bits.
#pragma once

#include <string.h>

#include "kernels/collect/collect.h"

namespace {

static constexpr size_t kTurn = 64;
static_assert(kTurn == kCollectSlack, "a list may be written as far as a turn reaches");
// Lookups run this many turns ahead of the list: a jump that was foreseen wrongly then waits for no lookup.
static constexpr size_t kAhead = 16;
static constexpr size_t kFew = 4;

// Four entries from the lowest bits, whether there are as many or not.
static inline uint64_t collect_four(uint32_t* list, uint32_t base, uint64_t bits) {
  for (size_t i = 0; i < 4; ++i) {
    list[i] = base + (uint32_t)__builtin_ctzll(bits | (uint64_t)1 << 63);
    bits &= bits - 1;
  }
  return bits;
}

// list() for machines that have nothing better.
static inline void collect_fours(uint32_t* list, uint32_t base, uint64_t bits) {
  for (; bits != 0; list += 4) bits = collect_four(list, base, bits);
}

template <class Lookup>
static inline uint64_t collect_bits(const Lookup& lookup, const uint16_t* ids, size_t left) {
  if (left >= kTurn) return lookup.bits(ids);
  uint16_t rest[kTurn] = {};
  memcpy(rest, ids, left * sizeof rest[0]);
  return lookup.bits(rest) & (((uint64_t)1 << left) - 1);
}

template <class Lookup>
static inline void collect_body(const CollectArgs* args) {
  const Lookup lookup(args->wanted, args->above);
  size_t count = 0;
  for (size_t i = 0; i < args->n; i += kAhead * kTurn) {
    uint64_t bits[kAhead];
    size_t turns = 0;
    for (size_t at = i; turns < kAhead && at < args->n; ++turns, at += kTurn)
      bits[turns] = collect_bits(lookup, args->ids + at, args->n - at);
    for (size_t t = 0; t < turns; ++t) {
      uint32_t* list = args->list + count;
      const uint32_t base = args->base + (uint32_t)(i + t * kTurn);
      const size_t found = (size_t)__builtin_popcountll(bits[t]);
      // Whether there are none is not asked: nobody can foresee it, and four entries cost less than that.
      if (found <= kFew)
        collect_four(list, base, bits[t]);
      else
        Lookup::list(list, base, bits[t]);
      count += found;
    }
  }
  *args->count = count;
}

}  // namespace
