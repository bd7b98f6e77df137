#include "compress/mlwq/float_math.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "compress/mlwq/matrix.h"

namespace minnow::compress {
namespace {

/// e^x within 2^-21 relative, written so that compilers vectorise it; below -87 it is 0.
inline float fast_exp(float x) {
  const float clamped = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
  const float shifted = clamped * 1.44269504089f + 12582912.0f;  // rounds to an integer in the low bits
  const float n = shifted - 12582912.0f;
  const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const float scale = std::bit_cast<float>((std::bit_cast<int32_t>(shifted) << 23) + 0x3f800000);
  return x < -87.0f ? 0.0f : p * scale;
}

inline float fast_tanh(float x) {
  const float e = fast_exp(-2.0f * (x < 0.0f ? -x : x));
  const float t = (1.0f - e) / (1.0f + e);
  return x < 0.0f ? -t : t;
}

MINNOW_CLONES float sum_exp(float* x, size_t n, float max) {
  float lanes[16] = {};
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (size_t j = 0; j < 16; ++j) {
      const float e = fast_exp(x[i + j] - max);
      x[i + j] = e;
      lanes[j] += e;
    }
  }
  float sum = 0.0f;
  for (; i < n; ++i) sum += x[i] = fast_exp(x[i] - max);
  for (float l : lanes) sum += l;
  return sum;
}

MINNOW_CLONES void silu_gradient(const float* g, const float* u, const float* d, size_t n, float* dg,
                                 float* du) {
  for (size_t i = 0; i < n; ++i) {
    const float s = 1.0f / (1.0f + fast_exp(-g[i]));
    const float slope = s * (1.0f + g[i] * (1.0f - s));
    dg[i] = d[i] * slope * u[i];
    du[i] = d[i] * g[i] * s;
  }
}

MINNOW_CLONES void gelu_tanh_gradient(const float* g, const float* u, const float* d, size_t n, float* dg,
                                      float* du) {
  constexpr float kRoot = 0.7978845608f;  // sqrt(2 / pi)
  for (size_t i = 0; i < n; ++i) {
    const float x = g[i], t = fast_tanh(kRoot * (x + 0.044715f * x * x * x));
    const float slope =
        0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * kRoot * (1.0f + 3.0f * 0.044715f * x * x);
    dg[i] = d[i] * slope * u[i];
    du[i] = d[i] * 0.5f * x * (1.0f + t);
  }
}

void gelu_erf_gradient(const float* g, const float* u, const float* d, size_t n, float* dg, float* du) {
  for (size_t i = 0; i < n; ++i) {
    const float x = g[i], phi = 0.5f * (1.0f + std::erf(x * 0.70710678f));
    const float density = 0.39894228f * std::exp(-0.5f * x * x);
    dg[i] = d[i] * (phi + x * density) * u[i];
    du[i] = d[i] * x * phi;
  }
}

void relu_gradient(const float* g, const float* u, const float* d, size_t n, float* dg, float* du) {
  for (size_t i = 0; i < n; ++i) {
    dg[i] = g[i] > 0.0f ? d[i] * u[i] : 0.0f;
    du[i] = g[i] > 0.0f ? d[i] * g[i] : 0.0f;
  }
}

}  // namespace

MINNOW_CLONES void norm_row_backward(const float* x, const float* weight, const float* dy, size_t n,
                                     float eps, bool centred, float* dx) {
  double sum = 0.0, square = 0.0;
  if (centred) {
    for (size_t i = 0; i < n; ++i) sum += x[i];
  }
  const auto mean = static_cast<float>(sum / static_cast<double>(n));
  for (size_t i = 0; i < n; ++i) square += (x[i] - mean) * (x[i] - mean);
  const auto r = static_cast<float>(1.0 / std::sqrt(square / static_cast<double>(n) + eps));
  double along = 0.0, total = 0.0;  // of the gradient: along the normed row, and along ones
  for (size_t i = 0; i < n; ++i) {
    const float h = (x[i] - mean) * r, g = dy[i] * weight[i];
    along += static_cast<double>(g) * h;
    total += g;
  }
  const auto a = static_cast<float>(along / static_cast<double>(n));
  const auto b = centred ? static_cast<float>(total / static_cast<double>(n)) : 0.0f;
  for (size_t i = 0; i < n; ++i) {
    const float h = (x[i] - mean) * r;
    dx[i] += r * (dy[i] * weight[i] - h * a - b);
  }
}

void activation_gradient(format::Activation kind, const float* gate, const float* up, const float* dinner,
                         size_t n, float* dgate, float* dup) {
  constexpr size_t kPiece = 512;
  float ones[kPiece], unused[kPiece];
  std::fill(ones, ones + kPiece, 1.0f);
  using A = format::Activation;
  const auto fn = kind == A::silu        ? silu_gradient
                  : kind == A::gelu_tanh ? gelu_tanh_gradient
                  : kind == A::gelu_erf  ? gelu_erf_gradient
                                         : relu_gradient;
  for (size_t i = 0; i < n; i += kPiece) {
    const size_t count = std::min(kPiece, n - i);
    fn(gate + i, up != nullptr ? up + i : ones, dinner + i, count, dgate + i,
       up != nullptr ? dup + i : unused);
  }
}

ExpSum exp_in_place(float* x, size_t n) {
  const float max = *std::max_element(x, x + n);
  return {max, sum_exp(x, n, max)};
}

MINNOW_CLONES void softmax_in_place(float* x, size_t n) {
  const ExpSum e = exp_in_place(x, n);
  const auto inverse = static_cast<float>(1.0 / e.sum);
  for (size_t i = 0; i < n; ++i) x[i] *= inverse;
}

double log_sum_exp(const float* x, size_t n) {
  thread_local std::vector<float> copy;
  copy.assign(x, x + n);
  const ExpSum e = exp_in_place(copy.data(), n);
  return e.max + std::log(e.sum);
}

}  // namespace minnow::compress
