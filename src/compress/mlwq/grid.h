// The grid of one group of weights: scale and zero, and how they are found.
#pragma once

#include <cstdint>
#include <vector>

#include "compress/quantised.h"

namespace minnow::compress {

/// Nearest f16 value (ties to even), as a float. Beyond the f16 range the largest f16.
float round_to_half(float v);

/// A group's grid: value = scale * (code - zero), code in [0, 2^bits).
struct Grid {
  float scale = 0.0f;
  uint8_t zero_index = 0;  // zero = zero_index * 2^(bits - 4); unused at 8 bits
  float zero = 0.0f;
};

inline float zero_step(uint32_t bits) {
  return bits == 2 ? 0.25f : bits == 3 ? 0.5f : 1.0f;
}
inline Grid grid_of(uint32_t bits, float scale, uint8_t zero_index) {
  return {scale, zero_index, bits == 8 ? 128.0f : static_cast<float>(zero_index) * zero_step(bits)};
}

inline uint8_t code_of(const Grid& g, float w, float inverse_scale, float top) {
  const float q = w * inverse_scale + g.zero;
  const float clamped = q < 0.0f ? 0.0f : q > top ? top : q;
  // Not negative, and in this form loops of it are vectorised. NOLINTNEXTLINE(bugprone-incorrect-roundings)
  return static_cast<uint8_t>(clamped + 0.5f);
}
inline float value_of(const Grid& g, uint8_t code) {
  return g.scale * (static_cast<float>(code) - g.zero);
}

/// How fit_grid() searches.
enum class ClipSearch : uint8_t {
  none,      ///< plain minimum and maximum
  plain,     ///< TQP as published: gamma = beta from 1 down to 0.4, plain squared error
  weighted,  ///< the same with each channel's error weighted, zeros beside the first guess, scale re-fitted
};

/// Grid of w[0, n) at `bits`; `importance` (n) weighs the squared errors (ClipSearch::weighted only).
Grid fit_grid(const float* w, const float* importance, uint32_t n, uint32_t bits, ClipSearch search);

}  // namespace minnow::compress
