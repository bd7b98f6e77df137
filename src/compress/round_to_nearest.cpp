#include "compress/round_to_nearest.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "kernels/common/float_bits.h"
#include "kernels/common/quantised.h"

namespace minnow::compress {
namespace {

constexpr int kClipSteps = 26;
constexpr float kClipStep = 0.02f;

float as_f16(float v) {
  return f32_of_f16(f16_of_f32(v));
}

/// The nearest integer of |v| < 2^22, in a form that compilers vectorise.
inline float nearest(float v) {
  constexpr float kMagic = 12582912.0f;
  return (v + kMagic) - kMagic;
}

struct Range {
  float scale = 0.0f;
  float zero = 0.0f;  // in codes
  uint8_t stored = 0;
};

float squared_error(const float* w, uint32_t count, const Range& r, float top) {
  const float inverse = r.scale > 0.0f ? 1.0f / r.scale : 0.0f;
  float sum = 0.0f;
  for (uint32_t i = 0; i < count; ++i) {
    const float code = std::min(std::max(nearest(w[i] * inverse + r.zero), 0.0f), top);
    const float e = w[i] - r.scale * (code - r.zero);
    sum += e * e;
  }
  return sum;
}

/// Scale and zero of a group as they will be stored.
Range best_range(const float* w, uint32_t count, int bits) {
  const float top = static_cast<float>((1 << bits) - 1);
  float low = 0.0f, high = 0.0f;
  for (uint32_t i = 0; i < count; ++i) low = std::min(low, w[i]), high = std::max(high, w[i]);
  Range best;
  if (bits == 8) {
    const float largest = std::max(-low, high);
    uint16_t half = f16_of_f32(largest / 127.0f);
    // Rounded up, so that the largest weight is not clipped.
    if (f32_of_f16(half) < largest / 127.0f && half < 0x7bff) ++half;
    best = {f32_of_f16(half), 128.0f, 0};
    return best;
  }
  float least = INFINITY;
  for (int step = 0; step < kClipSteps; ++step) {
    const float t = 1.0f - kClipStep * static_cast<float>(step);
    Range r;
    r.scale = as_f16(t * (high - low) / top);
    if (r.scale == 0.0f) break;
    const float zero = std::min(std::max(nearest(-t * low / r.scale / zero_step(bits)), 0.0f), 15.0f);
    r.stored = static_cast<uint8_t>(zero);
    r.zero = zero * zero_step(bits);
    const float error = squared_error(w, count, r, top);
    if (error < least) least = error, best = r;
  }
  return best;
}

}  // namespace

Result<QuantisedLinear> round_to_nearest(const RowSource& source, format::CodeType code, uint32_t group, ThreadPool& pool) {
  const auto bits = static_cast<int>(format::bits_of(code));
  QuantisedLinear out;
  out.name = source.tensor->name;
  out.rows = source.rows, out.cols = source.cols;
  QuantisedSlab& s = out.slabs.emplace_back();
  s.code = code, s.group = group, s.count = source.cols;
  const uint32_t groups = s.groups();
  s.codes.resize(uint64_t{source.rows} * source.cols);
  s.scales.resize(uint64_t{source.rows} * groups);
  if (bits != 8) s.zeros.resize(uint64_t{source.rows} * groups);
  const float top = static_cast<float>((1 << bits) - 1);
  std::vector<float> values(uint64_t{pool.threads()} * source.cols);
  Status failure;
  std::mutex mutex;
  pool.parallel_for(source.rows, 8, [&](size_t begin, size_t end, uint32_t slot) {
    float* w = values.data() + uint64_t{slot} * source.cols;
    for (size_t r = begin; r < end; ++r) {
      Status status = source.read(static_cast<uint32_t>(r), w);
      for (uint32_t g = 0; g < groups && status.ok(); ++g) {
        const uint32_t first = g * group, count = std::min(group, source.cols - first);
        const Range range = best_range(w + first, count, bits);
        if (!std::isfinite(range.scale)) {
          status = fail(Code::unsupported, "tensor '", source.tensor->name, "' holds values in row ", r,
                        " that are too large for ", bits, "-bit codes with f16 scales; store it as a float");
          break;
        }
        s.scales[r * groups + g] = range.scale;
        if (bits != 8) s.zeros[r * groups + g] = range.stored;
        const float inverse = range.scale > 0.0f ? 1.0f / range.scale : 0.0f;
        // 8-bit codes keep to -127 .. 127 around the midpoint.
        const float bottom = bits == 8 ? 1.0f : 0.0f;
        uint8_t* codes = s.codes.data() + r * source.cols + first;
        for (uint32_t i = 0; i < count; ++i)
          codes[i] = static_cast<uint8_t>(std::clamp(nearest(w[first + i] * inverse + range.zero), bottom, top));
      }
      if (status.ok()) continue;
      const std::lock_guard lock(mutex);
      if (failure.ok()) failure = std::move(status);
    }
  });
  MINNOW_TRY(std::move(failure));
  return out;
}

}  // namespace minnow::compress
