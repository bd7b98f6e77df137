#include "compress/mlwq/matrix.h"

#include "compress/product/product.h"

namespace minnow::compress {
namespace {

void product(const Rows& a, bool a_turned, const Rows& b, bool b_turned, float* c, size_t c_stride,
             Write write) {
  using Into = Product<float>::Into;
  Product<float> p = {};
  p.a = {a.data, a.stride, a_turned}, p.b = {b.data, b.stride, b_turned};
  p.c = c, p.c_stride = c_stride;
  p.m = a_turned ? a.cols : a.rows, p.k = a_turned ? a.rows : a.cols, p.n = b_turned ? b.rows : b.cols;
  p.into = write == Write::add ? Into::add : Into::set;
  multiply(p);
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
  product(a, false, b, true, c, c_stride, write);
}

void multiply_nn(const Rows& a, const Rows& b, float* c, size_t c_stride, Write write) {
  product(a, false, b, false, c, c_stride, write);
}

void multiply_tn(const Rows& a, const Rows& b, float* c, size_t c_stride, Write write) {
  product(a, true, b, false, c, c_stride, write);
}

}  // namespace minnow::compress
