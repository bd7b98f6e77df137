// Bands of distances. A far key's score depends on how far back it lies, a centroid's should not: so keys are
// scored as if each turned by what the keys of its band turn by on average (docs/retrieval.md).
#pragma once

#include <cstdint>

namespace minnow::exec {

/// Where calibration sees keys from: far back, as A2ATS has it.
inline constexpr uint32_t kFarDistance = 2048;

/// Always attended to: the first positions, and the last.
inline constexpr uint32_t kSinks = 8, kWindow = 64;

/// A far key that lies d positions back is in band b if kBands[b] <= d < kBands[b + 1]; the last has no end.
inline constexpr uint32_t kBands[] = {kWindow, 512, 4096, 32768};
inline constexpr uint32_t kMostBands = 4;

/// How many there are in a context of `positions`; at least 1.
constexpr uint32_t bands_of(uint32_t positions) {
  uint32_t n = 1;
  while (n < kMostBands && kBands[n] < positions) ++n;
  return n;
}

/// Positions below it lie in this band or behind it, for a token at `position`.
constexpr uint32_t band_end(uint32_t band, uint32_t position) {
  return position + 1 > kBands[band] ? position + 1 - kBands[band] : 0;
}

/// Positions below it are out of the window of a token at `position`.
constexpr uint32_t far_end(uint32_t position) {
  return band_end(0, position);
}

}  // namespace minnow::exec
