// Taking codes out of their bytes: units of rows and channels, steps of panels. The ISA file names its
// int_<isa>.h in MINNOW_INT. Layouts: quantised.h.
#pragma once

#include MINNOW_INT

#include "kernels/common/quantised.h"
#include "kernels/common/unroll.h"

namespace {

// Bits moved from place `from` to place `to` of every byte; the neighbours' bits come along.
template <int from, int to>
static inline VecB vb_move(VecB a) {
  if constexpr (from >= to)
    return vb_shr<from - to>(a);
  else
    return vb_shl<to - from>(a);
}

// 8-bit codes as products take them.
static inline VecB without_bias(VecB codes) {
  return kW8Bias != 0 ? vb_xor(codes, vb_set1(0x80)) : codes;
}

template <int kBits>
static constexpr int planes_of() {
  return kBits == 8 ? 1 : kBits == 4 ? 2 : 4;
}

// Codes of plane kPlane of packed units (8-bit ones minus kW8Bias); `third` holds the third bits in bits 0 to
// 3 (3-bit codes only).
template <int kBits, int kPlane>
static inline VecB plane_codes(VecB packed, VecB third) {
  if constexpr (kBits == 8) return without_bias(packed);
  if constexpr (kBits == 4) return vb_and(vb_shr<4 * kPlane>(packed), vb_set1(15));
  const VecB low = vb_and(vb_shr<2 * kPlane>(packed), vb_set1(3));
  if constexpr (kBits == 2) return low;
  return vb_or_masked(low, vb_move<kPlane, 2>(third), vb_set1(4));
}

// Codes of step kStep (of 8) of a panel's block; `packed` are its vectors of the kind at hand (2 at 2 and 3
// bits, else kBits of them), `third` the one that follows at 3 bits.
template <int kBits, int kStep>
static inline VecB step_codes(const VecB* packed, VecB third) {
  if constexpr (kBits == 8) return without_bias(packed[kStep]);
  if constexpr (kBits == 4) return vb_and(vb_shr<4 * (kStep / 4)>(packed[kStep % 4]), vb_set1(15));
  const VecB low = vb_and(vb_shr<2 * (kStep / 2)>(packed[kStep % 2]), vb_set1(3));
  if constexpr (kBits == 2) return low;
  return vb_or_masked(low, vb_move<kStep, 2>(third), vb_set1(4));
}

// kSet rows of bytes to vectors of neighbours: byte kSet * d + r of unit u of out[i] is byte 16 / kSet * i +
// d of unit u of rows[r]. All kSet vectors of it, or a half.
template <int kSet, int kHalf = 0, int kHalves = 1>
static inline void vb_interleave(const VecB* rows, VecB* out) {
  static_assert(kSet == 4 || kHalves == 1);
  if constexpr (kSet == 1) out[0] = rows[0];
  if constexpr (kSet == 2) {
    out[0] = vb_zip8_lo(rows[0], rows[1]);
    out[1] = vb_zip8_hi(rows[0], rows[1]);
  }
  if constexpr (kSet == 4 && kHalf == 0) {
    const VecB ab = vb_zip8_lo(rows[0], rows[1]), cd = vb_zip8_lo(rows[2], rows[3]);
    out[0] = vb_zip16_lo(ab, cd);
    out[1] = vb_zip16_hi(ab, cd);
  }
  if constexpr (kSet == 4 && kHalf == kHalves - 1) {
    const VecB ab = vb_zip8_hi(rows[0], rows[1]), cd = vb_zip8_hi(rows[2], rows[3]);
    out[4 / kHalves - 2] = vb_zip16_lo(ab, cd);
    out[4 / kHalves - 1] = vb_zip16_hi(ab, cd);
  }
}

}  // namespace
