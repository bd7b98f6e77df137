#include "compress/mlwq/grid.h"

#include <algorithm>
#include <cmath>

#include "compress/mlwq/matrix.h"

namespace minnow::compress {
namespace {

struct Sums {
  float error;   // weighted squared error
  float wq, qq;  // weighted sums of w (q - z) and (q - z)^2: the best scale is their ratio
};

/// Quantises w on the grid and measures; the loop is branch-free so that it vectorises.
MINNOW_CLONES Sums measure(const float* w, const float* h, size_t n, float scale, float zero, float top) {
  constexpr size_t kLanes = 16;
  float error[kLanes] = {}, wq[kLanes] = {}, qq[kLanes] = {};
  const float inverse = 1.0f / scale;
  for (size_t i = 0; i < n; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) {
      float q = w[i + j] * inverse + zero;
      q = q < 0.0f ? 0.0f : q;
      q = q > top ? top : q;
      q = (q + 8388608.0f) - 8388608.0f;  // to the nearest integer
      const float d = q - zero, e = w[i + j] - scale * d;
      error[j] += h[i + j] * e * e;
      wq[j] += h[i + j] * w[i + j] * d;
      qq[j] += h[i + j] * d * d;
    }
  }
  Sums s{};
  for (size_t j = 0; j < kLanes; ++j) s.error += error[j], s.wq += wq[j], s.qq += qq[j];
  return s;
}

/// w and its weights, padded so that measure() needs no tail.
struct Padded {
  float w[160], h[160];
  uint32_t n;
};

Padded pad(const float* w, const float* importance, uint32_t n) {
  Padded p{};
  p.n = (n + 15) / 16 * 16;
  std::copy_n(w, n, p.w);
  if (importance != nullptr) {
    std::copy_n(importance, n, p.h);
  } else {
    std::fill_n(p.h, n, 1.0f);
  }
  return p;
}

}  // namespace

Grid fit_grid(const float* w, const float* importance, uint32_t n, uint32_t bits, ClipSearch search) {
  const float top = static_cast<float>((1u << bits) - 1);
  const auto [first, last] = std::minmax_element(w, w + n);
  const float lo = std::min(*first, 0.0f), hi = std::max(*last, 0.0f);
  if (bits == 8) {
    const float wanted = std::max(-lo, hi) / 127.0f;
    uint16_t half = f16_of_f32(wanted);
    if (f32_of_f16(half) < wanted) ++half;
    return grid_of(8, f32_of_f16(half), 0);
  }
  if (lo == hi) return grid_of(bits, 0.0f, 8);
  const float range = (hi - lo) / top;
  const auto nearest =
      static_cast<int>(std::nearbyint(-lo / (hi - lo) * top / zero_step(static_cast<int>(bits))));
  const Grid whole = grid_of(bits, nearest_half(range), static_cast<uint8_t>(std::clamp(nearest, 0, 15)));
  if (search == ClipSearch::none || !std::isfinite(whole.scale)) return whole;
  const bool weighted = search == ClipSearch::weighted;
  const Padded p = pad(w, weighted ? importance : nullptr, n);
  Grid best;
  float best_error = INFINITY;
  const auto consider = [&](float scale, int zero_index) -> Sums {
    scale = nearest_half(scale);
    if (!(scale > 0.0f) || !std::isfinite(scale)) return {INFINITY, 0.0f, 0.0f};
    const Grid g = grid_of(bits, scale, static_cast<uint8_t>(zero_index));
    const Sums s = measure(p.w, p.h, p.n, g.scale, g.zero, top);
    if (s.error < best_error) best_error = s.error, best = g;
    return s;
  };
  const int spread = weighted ? 1 : 0;
  const int steps = weighted ? 6 : 30;  // ranges from 1 down to 0.4 of the group's
  const float grain = 0.6f / static_cast<float>(steps);
  for (int z = std::max(0, nearest - spread); z <= std::min(15, nearest + spread); ++z) {
    for (int clip = 0; clip <= steps; ++clip) {
      const Sums s = consider((1.0f - grain * static_cast<float>(clip)) * range, z);
      if (weighted && s.qq > 0.0f) consider(s.wq / s.qq, z);
    }
  }
  if (weighted) {  // the scale that fits the codes, until it stays
    for (int i = 0; i < 4; ++i) {
      const Grid before = best;
      const Sums s = measure(p.w, p.h, p.n, best.scale, best.zero, top);
      if (s.qq > 0.0f) consider(s.wq / s.qq, best.zero_index);
      if (best.scale == before.scale) break;
    }
  }
  if (best_error == INFINITY) return grid_of(bits, 0.0f, 8);
  return best;
}

}  // namespace minnow::compress
