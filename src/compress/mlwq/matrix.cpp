#include "compress/mlwq/matrix.h"

#include <algorithm>

#include "exec/float_gemm.h"

namespace minnow::compress {
namespace {

using exec::RightMatrix;

/// Values of b that are packed at a time: XNNPACK reads its copy again for every few rows of a, so it has to
/// stay in the second-level cache.
constexpr size_t kTileFloats = size_t{1} << 17;
constexpr size_t kPanel = 16;  // outputs a kernel finds at a time

MINNOW_CLONES void add_rows(const float* from, size_t rows, size_t cols, float* to, size_t to_stride) {
  for (size_t i = 0; i < rows; ++i) {
    for (size_t j = 0; j < cols; ++j) to[i * to_stride + j] += from[i * cols + j];
  }
}

/// out (a.cols, a.rows), rows `stride` apart.
void transpose(const Rows& a, float* out, size_t stride) {
  constexpr size_t kBlock = 16;
  for (size_t i0 = 0; i0 < a.rows; i0 += kBlock) {
    const size_t i1 = std::min(a.rows, i0 + kBlock);
    for (size_t j0 = 0; j0 < a.cols; j0 += kBlock) {
      const size_t j1 = std::min(a.cols, j0 + kBlock);
      for (size_t i = i0; i < i1; ++i) {
        for (size_t j = j0; j < j1; ++j) out[j * stride + i] = a.data[i * a.stride + j];
      }
    }
  }
}

/// The product of one tile of outputs; b is contiguous in the given form.
void product(const Rows& a, const float* b, size_t n, RightMatrix form, float* c, size_t c_stride,
             Write write) {
  thread_local std::vector<float> sum;
  float* out = c;
  size_t stride = c_stride;
  if (write == Write::add) {
    sum.resize(a.rows * n + 16);
    out = sum.data();
    stride = n;
  }
  const bool done = exec::float_gemm_available() &&
                    exec::float_matmul(a.data, a.stride, a.rows, a.cols, b, n, form, out, stride);
  if (!done) {
    for (size_t i = 0; i < a.rows; ++i) {
      float* y = out + i * stride;
      const float* x = a.data + i * a.stride;
      if (form == RightMatrix::rows_of_outputs) {
        for (size_t j = 0; j < n; ++j) y[j] = static_cast<float>(dot(x, b + j * a.cols, a.cols));
      } else {
        std::fill(y, y + n, 0.0f);
        for (size_t l = 0; l < a.cols; ++l) add_scaled(x[l], b + l * n, y, n);
      }
    }
  }
  if (write == Write::add) add_rows(out, a.rows, n, c, c_stride);
}

/// Outputs of `inputs` values each that are found at a time.
size_t tile_outputs(size_t inputs) {
  return std::max(kTileFloats / std::max<size_t>(1, inputs) / kPanel * kPanel, 2 * kPanel);
}

}  // namespace

MINNOW_CLONES void add_scaled(float a, const float* x, float* y, size_t n) {
  for (size_t i = 0; i < n; ++i) y[i] += a * x[i];
}

MINNOW_CLONES double dot(const float* x, const float* y, size_t n) {
  float lanes[16] = {};
  double sum = 0.0;
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (size_t j = 0; j < 16; ++j) lanes[j] += x[i + j] * y[i + j];
  }
  for (; i < n; ++i) sum += static_cast<double>(x[i]) * y[i];
  for (float lane : lanes) sum += lane;
  return sum;
}

void multiply_nt(const Rows& a, const Rows& b, float* c, size_t c_stride, Write write) {
  // What lies on the right is packed: where a is much smaller, turning the product costs less.
  if (write == Write::set && a.rows * (a.cols + 2 * b.rows) < b.rows * b.cols) {
    thread_local std::vector<float> turned;
    turned.resize(a.rows * b.rows + 16);
    multiply_nt(b, a, turned.data(), a.rows);
    transpose({turned.data(), b.rows, a.rows, a.rows}, c, c_stride);
    if (turned.size() > kKeptFloats) turned = std::vector<float>();
    return;
  }
  thread_local std::vector<float> copy;
  const size_t most = tile_outputs(b.cols);
  for (size_t j = 0; j < b.rows; j += most) {
    const size_t n = std::min(most, b.rows - j);
    const float* tile = b.data + j * b.stride;
    if (b.stride != b.cols) {
      copy.resize(n * b.cols + 16);
      for (size_t i = 0; i < n; ++i)
        std::copy_n(tile + i * b.stride, b.cols, copy.begin() + static_cast<long>(i * b.cols));
      tile = copy.data();
    }
    product(a, tile, n, RightMatrix::rows_of_outputs, c + j, c_stride, write);
  }
}

void multiply_nn(const Rows& a, const Rows& b, float* c, size_t c_stride, Write write) {
  thread_local std::vector<float> copy;
  const size_t most = tile_outputs(b.rows);
  for (size_t j = 0; j < b.cols; j += most) {
    const size_t n = std::min(most, b.cols - j);
    const float* tile = b.data + j;
    if (b.stride != n) {
      copy.resize(n * b.rows + 16);
      for (size_t i = 0; i < b.rows; ++i)
        std::copy_n(tile + i * b.stride, n, copy.begin() + static_cast<long>(i * n));
      tile = copy.data();
    }
    product(a, tile, n, RightMatrix::rows_of_inputs, c + j, c_stride, write);
  }
}

void multiply_tn(const Rows& a, const Rows& b, float* c, size_t c_stride, Write write) {
  thread_local std::vector<float> turned;
  turned.resize(a.rows * a.cols + 16);
  transpose(a, turned.data(), a.rows);
  const Rows left{turned.data(), a.cols, a.rows, a.rows};
  multiply_nn(left, b, c, c_stride, write);
}

}  // namespace minnow::compress
