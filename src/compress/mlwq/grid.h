// The grid of one group of weights: scale and zero, how they are found, and how a weight becomes a code.
#pragma once

#include <cstdint>

#include "compress/quantised.h"
#include "kernels/common/float_bits.h"
#include "kernels/common/quantised.h"

namespace minnow::compress {

/// A group's grid: value = scale * (code - zero), code in [0, 2^bits).
struct Grid {
  float scale = 0.0f;
  uint8_t zero_index = 0;  // zero = zero_index * zero_step(bits); unused at 8 bits
  float zero = 0.0f;
};

inline Grid grid_of(uint32_t bits, float scale, uint8_t zero_index) {
  return {scale, zero_index,
          bits == 8 ? 128.0f : static_cast<float>(zero_index) * zero_step(static_cast<int>(bits))};
}
inline float value_of(const Grid& g, uint8_t code) {
  return g.scale * (static_cast<float>(code) - g.zero);
}
/// The f16 nearest to v, as a float; infinite beyond the range.
inline float nearest_half(float v) {
  return f32_of_f16(f16_of_f32(v));
}

/// Takes weights to their nearest codes on a grid. 8 bits keep to 1 .. 255, which is -127 .. 127 around the
/// midpoint.
class Rounding {
 public:
  Rounding(const Grid& g, uint32_t bits)
      : inverse_(g.scale > 0.0f ? 1.0f / g.scale : 0.0f),
        zero_(g.zero),
        bottom_(bits == 8 ? 1.0f : 0.0f),
        top_(static_cast<float>((1u << bits) - 1)) {}
  uint8_t operator()(float w) const {
    const float q = w * inverse_ + zero_;
    const float clamped = q < bottom_ ? bottom_ : q > top_ ? top_ : q;
    // Not negative, and in this form loops of it are vectorised. NOLINTNEXTLINE(bugprone-incorrect-roundings)
    return static_cast<uint8_t>(clamped + 0.5f);
  }

 private:
  float inverse_, zero_, bottom_, top_;
};

/// How fit_grid() searches.
enum class ClipSearch : uint8_t {
  none,      ///< plain minimum and maximum
  plain,     ///< TQP as published: gamma = beta from 1 down to 0.4, plain squared error
  weighted,  ///< the same with each channel's error weighted, zeros beside the first guess, scale re-fitted
};

/// Grid of w[0, n), n <= 144, at `bits`; `importance` (n) weighs the squared errors (ClipSearch::weighted
/// only). 8 bits keep the whole range around the midpoint, the scale rounded up so that the largest weight
/// is not clipped. An infinite scale says that the weights are too large for f16 scales.
Grid fit_grid(const float* w, const float* importance, uint32_t n, uint32_t bits, ClipSearch search);

}  // namespace minnow::compress
