// Matrix products of calibration, on the calling thread: Eigen's, compiled for several instruction sets, of
// which the machine's is taken. Debian's XNNPACK, whose kernels serve the runtime, multiplies floats at two
// fifths of that speed on machines with AVX2 alone; docs/compression.md has the figures.
#pragma once

#include <cstddef>

namespace minnow::compress {

/// c (m, n) = or += or -= a (m, k) times b (k, n). Rows lie `stride` numbers apart; a matrix that is turned
/// has its columns as rows. c overlaps neither a nor b.
template <typename T>
struct Product {
  struct Operand {
    const T* data;
    size_t stride;
    bool turned;
  };
  enum class Into : unsigned char { set, add, subtract };
  Operand a, b;
  T* c;
  size_t c_stride;
  size_t m, n, k;
  Into into;
};

/// How often numbers are rounded between two of k depends on the instruction set; the sum of an output also
/// on where in c it lies. Errors: std::bad_alloc, as of any container.
void multiply(const Product<float>& p);
void multiply(const Product<double>& p);

}  // namespace minnow::compress
