// Codes that take part in products where they lie. An output's sum only needs all its products to carry the
// same power of two, so a code need not be shifted down to bit 0: masking its byte is enough, and the power
// is taken out once a group. A byte holds fields of 2, 4 or 8 bits:
//
//   2, 4, 8 bits   the packed byte as it is; field f is plane f
//   3 bits         two bytes made of the packed one and the third bits, with fields of 4: field f of byte b
//                  is plane 2 f + b
//
// How many bits may stay where they are is up to the ISA's product (kProductBits, int_<isa>.h). Where it is
// all eight, field 0 is not even masked: its sum takes the others along, which are subtracted once a group.
#pragma once

#include "kernels/common/codes.h"

namespace {

template <int kBits>
static constexpr int field_bits() {
  return kBits == 3 ? 4 : kBits;
}
template <int kBits>
static constexpr int fields_of() {
  return 8 / field_bits<kBits>();
}
template <int kBits>
static constexpr int plane_bytes() {
  return kBits == 3 ? 2 : 1;
}

// How far right field kField of a byte is shifted before it is masked: to 4 bits where products are narrow,
// which serves two fields of two bits; to the bottom where only the topmost field has to move.
template <int kBits, int kField>
static constexpr int field_shift() {
  const int place = kField * field_bits<kBits>();
  if (place + field_bits<kBits>() <= kProductBits) return 0;
  return kProductBits == 4 ? 4 : place;
}

// log2 of what a plane's sum is multiplied with.
template <int kBits>
static constexpr int plane_power(int plane) {
  const int place = plane / plane_bytes<kBits>() * field_bits<kBits>();
  if (kBits == 8 || place + field_bits<kBits>() <= kProductBits) return place;
  return kProductBits == 4 ? place - 4 : 0;
}

// Whether field 0 goes unmasked.
template <int kBits>
static constexpr bool field_takes_all() {
  return kProductBits == 8 && fields_of<kBits>() > 1;
}

// Field kField of `byte`, times its plane's power; 8-bit codes minus kW8Bias.
template <int kBits, int kField>
static inline VecB field_codes(VecB byte) {
  if constexpr (kBits == 8) {
    return without_bias(byte);
  } else if constexpr (kField == 0 && field_takes_all<kBits>()) {
    return byte;
  } else {
    constexpr int kWidth = field_bits<kBits>(), kShift = field_shift<kBits, kField>();
    constexpr int kAt = kField * kWidth - kShift;
    const VecB moved = vb_shr<kShift>(byte);
    // Nothing is left above a topmost field, if the shift brought in zeros.
    if constexpr (kShiftsWithinBytes && kAt == 0 && kShift + kWidth == 8) return moved;
    return vb_and(moved, vb_set1((uint8_t)(((1 << kWidth) - 1) << kAt)));
  }
}

// The bytes that hold the fields of one packed byte; third bits are in bits 0 to 3 of `thirds`.
template <int kBits>
static inline void field_bytes(VecB packed, VecB thirds, VecB* bytes) {
  if constexpr (kBits != 3) {
    bytes[0] = packed;
  } else {
    // Third bits of planes 0 and 2, of 1 and 3, looked up at bits 2 and 6, where the two low bits end.
    alignas(16) static const uint8_t kOf02[16] = {0x00, 0x04, 0x00, 0x04, 0x40, 0x44, 0x40, 0x44,
                                                  0x00, 0x04, 0x00, 0x04, 0x40, 0x44, 0x40, 0x44};
    alignas(16) static const uint8_t kOf13[16] = {0x00, 0x00, 0x04, 0x04, 0x00, 0x00, 0x04, 0x04,
                                                  0x40, 0x40, 0x44, 0x44, 0x40, 0x40, 0x44, 0x44};
    const VecB index = vb_and(thirds, vb_set1(15));
    bytes[0] = vb_or_masked(vb_lookup(kOf02, index), packed, vb_set1(0x33));
    bytes[1] = vb_or_masked(vb_lookup(kOf13, index), vb_shr<2>(packed), vb_set1(0x33));
  }
}

}  // namespace
