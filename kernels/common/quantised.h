// Quantised weights and activations as the gemv, expand and gemm families read them.
//
//   y[m][n] = sum_g s[n][g] * ( sx[m][g] * sum_{k in g} q[n][k] * xq[m][k]  -  z[n][g] * zx[m][g] )
//
// for one slab: all its codes have the same width and group. Group g covers channels [g * group, (g + 1) * group),
// the last one may be short. zx = sx * (sum of the group's xq).
//
// Codes q are unsigned, `bits` wide (2, 3, 4 or 8); scales are f16. The zero z is a stored 4-bit number times
// 2^(bits - 4), so that its sixteen values span the codes; without stored zeros, and always for 8 bits, it is the
// midpoint 2^(bits - 1).
//
// A unit is 16 bytes: byte p holds in its bits [j * w, (j + 1) * w) element 16 j + p, for w = 8, 4, 2 (1, 2 or 4
// planes j). Three bits are two planes-of-four units: the two low bits as a 2-bit unit of 64 elements, the third
// bits behind all low units of a run, 16 bytes for two units: of byte p, bit j belongs to element 16 j + p of the
// first, bit 4 + j to that of the second.
//
//   row      an output after another: units of its channels, then its scales, then its zeros
//   channel  an input channel after another: units of all outputs; scales and zeros [group][outputs]
//   panel    16 outputs interleaved, by blocks of 32 channels: bits * 64 bytes. 64 bytes hold for 16 outputs four
//            channels each, a step: lane n, byte i is channel 4 t + i of step t. 8 bits: step after step. 4 bits:
//            steps t and t + 4 share bytes, low and high half. 2 bits: steps t, t + 2, t + 4, t + 6 of 2. 3 bits: as 2
//            bits, then 64 bytes whose bit t is the third bit of step t. Scales and zeros [panel][group][16].
// Zeros lie by sixteens (of groups in row layout, of outputs else): 8 bytes, byte i holds i and, above, i + 8.
//
// Alignment: codes 16 bytes, scales 2, zeros 1. Kernels may read 64 bytes past what they are given.
#pragma once

#include <stddef.h>
#include <stdint.h>

struct QuantisedWeights {
  int bits;
  size_t group;
  const uint8_t* codes;
  size_t stride;  // bytes from one row, channel or panel to the next
  const uint16_t* scales;
  size_t scale_stride;   // bytes from one row, group (channel layout) or panel to the next
  const uint8_t* zeros;  // or nullptr
  size_t zero_stride;    // bytes
};

// What quantize_q8_f32 writes. Every row is followed by zeros up to a multiple of kInputPadding codes, every run of
// scales and zs by zeros up to a multiple of kInputGroupPadding.
struct QuantisedInput {
  const int8_t* codes;  // in [-127, 127]
  size_t stride;        // bytes from one row to the next
  const float* scales;  // [m][group_stride]
  const float* zs;      // [m][group_stride]: scale * sum of codes
  size_t group_stride;  // elements
};

static constexpr size_t kInputPadding = 256;
static constexpr size_t kInputGroupPadding = 16;
static constexpr size_t kPanelOutputs = 16;
static constexpr size_t kPanelBlock = 32;  // channels

// Elements of a unit of 16 bytes.
static constexpr size_t unit_elements(int bits) {
  return bits == 8 ? 16 : bits == 4 ? 32 : 64;
}
// Bytes of a run of units that holds `elements`: a row's codes, or a channel's.
static constexpr size_t run_bytes(int bits, size_t elements) {
  const size_t units = (elements + unit_elements(bits) - 1) / unit_elements(bits);
  return 16 * (units + (bits == 3 ? (units + 1) / 2 : 0));
}
static constexpr size_t panel_bytes(int bits, size_t channels) {
  return (channels + kPanelBlock - 1) / kPanelBlock * 64 * (size_t)bits;
}
// What a stored zero counts in codes, and what stands for all of them when none are stored.
static constexpr float zero_step(int bits) {
  return bits == 2 ? 0.25f : bits == 3 ? 0.5f : 1.0f;
}
static constexpr float kMidpointZero = 8.0f;
