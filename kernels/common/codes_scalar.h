// One code at a time, straight from the description in quantised.h: what the references read with.
#pragma once

#include "kernels/common/float_bits.h"
#include "kernels/common/quantised.h"

// Code `i` of a run of units that holds `elements`.
static inline int code_in_run(const uint8_t* run, int bits, size_t elements, size_t i) {
  const size_t per_unit = unit_elements(bits), unit = i / per_unit, plane = i % per_unit / 16, p = i % 16;
  const int byte = run[16 * unit + p];
  if (bits == 8) return byte;
  if (bits == 4) return byte >> (4 * plane) & 15;
  const int low = byte >> (2 * plane) & 3;
  if (bits == 2) return low;
  const uint8_t* high = run + 16 * ((elements + 63) / 64);
  return low + 4 * (high[unit / 2 * 16 + p] >> (plane + 4 * (unit % 2)) & 1);
}

// Code of channel k, output n (of 16), of a panel.
static inline int code_in_panel(const uint8_t* panel, int bits, size_t n, size_t k) {
  const uint8_t* block = panel + k / 32 * 64 * (size_t)bits;
  const size_t t = k % 32 / 4, at = 4 * n + k % 4;
  if (bits == 8) return block[64 * t + at];
  if (bits == 4) return block[64 * (t % 4) + at] >> (4 * (t / 4)) & 15;
  const int low = block[64 * (t % 2) + at] >> (2 * (t / 2)) & 3;
  return bits == 2 ? low : low + 4 * (block[128 + at] >> t & 1);
}

// Zero `i` of a row of zeros, in codes; nullptr: the midpoint.
static inline float zero_in_row(const uint8_t* zeros, int bits, size_t i) {
  if (zeros == nullptr) return bits == 8 ? 128.0f : kMidpointZero * zero_step(bits);
  return (float)(zeros[i / 16 * 8 + i % 8] >> (i % 16 < 8 ? 0 : 4) & 15) * zero_step(bits);
}
