// Row-major float matrices of the calibration passes, and the products between them.
//
// Every product runs on the calling thread; callers spread sequences or tiles over the pool.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace minnow::compress {

// Loops that matter are compiled for several instruction sets; the loader picks one. Left out where a
// sanitizer would run before the resolver can.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define MINNOW_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define MINNOW_CLONES
#endif

/// (rows, cols)
class Matrix {
 public:
  Matrix() = default;
  Matrix(size_t rows, size_t cols) { reset(rows, cols); }
  /// Sets the shape; the contents are zero.
  void reset(size_t rows, size_t cols) {
    rows_ = rows, cols_ = cols;
    data_.assign(rows * cols, 0.0f);
  }
  /// Sets the shape, contents unspecified; keeps the memory where it suffices.
  void shape(size_t rows, size_t cols) {
    rows_ = rows, cols_ = cols;
    data_.resize(rows * cols);
  }
  size_t rows() const { return rows_; }
  size_t cols() const { return cols_; }
  size_t size() const { return rows_ * cols_; }
  bool empty() const { return size() == 0; }
  float* row(size_t i) { return data_.data() + i * cols_; }
  const float* row(size_t i) const { return data_.data() + i * cols_; }
  float* data() { return data_.data(); }
  const float* data() const { return data_.data(); }
  std::span<float> span() { return {data_.data(), size()}; }
  std::span<const float> span() const { return {data_.data(), size()}; }

 private:
  size_t rows_ = 0, cols_ = 0;
  std::vector<float> data_;
};

/// Floats of a thread's scratch that stay from one product to the next.
inline constexpr size_t kKeptFloats = size_t{1} << 23;

enum class Write : unsigned char { set, add };

/// A view of rows that lie `stride` floats apart.
struct Rows {
  const float* data;
  size_t rows, cols, stride;
};
inline Rows rows_of(const Matrix& m) {
  return {m.data(), m.rows(), m.cols(), m.cols()};
}

/// c (a.rows, b.rows) = a b^T; c's rows lie c_stride apart.
void multiply_nt(const Rows& a, const Rows& b, float* c, size_t c_stride, Write write = Write::set);
/// c (a.rows, b.cols) = a b.
void multiply_nn(const Rows& a, const Rows& b, float* c, size_t c_stride, Write write = Write::set);
/// c (a.cols, b.cols) = a^T b.
void multiply_tn(const Rows& a, const Rows& b, float* c, size_t c_stride, Write write = Write::set);

/// y += a x
void add_scaled(float a, const float* x, float* y, size_t n);
double dot(const float* x, const float* y, size_t n);

}  // namespace minnow::compress
