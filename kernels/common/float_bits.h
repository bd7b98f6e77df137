// f16 and bf16 as bit patterns, one value at a time. Exact, and round to nearest even.
#pragma once

#include <stdint.h>
#include <string.h>

static inline uint32_t bits_of_f32(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline float f32_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline float f32_of_bf16(uint16_t bits) {
  return f32_of_bits((uint32_t)bits << 16);
}

// NaN keeps its sign and becomes quiet; the carry of rounding may turn the largest finite value into
// infinity.
static inline uint16_t bf16_of_f32(float value) {
  const uint32_t bits = bits_of_f32(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((bits >> 16) | 0x40u);
  return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// Shift the 15 low bits into place and multiply by 2^112 to fix the exponent bias: subnormals come out exact.
static inline float f32_of_f16(uint16_t bits) {
  const uint32_t sign = (uint32_t)(bits & 0x8000u) << 16;
  const uint32_t rest = (uint32_t)(bits & 0x7fffu) << 13;
  if (rest >= 0x0f800000u) {  // infinity or NaN, which becomes quiet as the hardware makes it
    const uint32_t quiet = rest > 0x0f800000u ? 0x400000u : 0u;
    return f32_of_bits(sign | 0x7f800000u | quiet | (rest & 0x7fffffu));
  }
  const float two_to_112 = f32_of_bits(0x77800000u);
  return f32_of_bits(sign | bits_of_f32(f32_of_bits(rest) * two_to_112));
}

static inline uint16_t f16_of_f32(float value) {
  const uint32_t bits = bits_of_f32(value);
  const uint16_t sign = (uint16_t)((bits >> 16) & 0x8000u);
  const uint32_t rest = bits & 0x7fffffffu;
  if (rest > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | ((rest >> 13) & 0x3ffu));
  if (rest >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);  // 65520 and above round to infinity
  if (rest < 0x38800000u) {                                    // below 2^-14: subnormal, unit 2^-24
    // Adding 0.5 puts the unit of the sum at 2^-24: the adder does the rounding.
    const uint32_t sum = bits_of_f32(f32_of_bits(rest) + 0.5f);
    return (uint16_t)(sign | (sum - 0x3f000000u));
  }
  const uint32_t rebias = rest - 0x38000000u;
  return (uint16_t)(sign | ((rebias + 0xfffu + ((rebias >> 13) & 1u)) >> 13));
}
