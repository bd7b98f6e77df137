#include "compress/mlwq/factor.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "compress/product/product.h"

namespace minnow::compress {
namespace {

constexpr size_t kBlock = 64;

MINNOW_CLONES double dot64(const double* a, const double* b, size_t n) {
  double lanes[8] = {};
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (size_t j = 0; j < 8; ++j) lanes[j] += a[i + j] * b[i + j];
  }
  double sum = 0.0;
  for (; i < n; ++i) sum += a[i] * b[i];
  for (double l : lanes) sum += l;
  return sum;
}

/// c (rows, cols) -= a (rows, inner) b (inner, cols), rows c_stride, a_stride and b_stride apart.
void subtract_product64(double* c, size_t c_stride, const double* a, size_t a_stride, const double* b,
                        size_t b_stride, size_t rows, size_t inner, size_t cols) {
  if (inner == 0) return;
  multiply(Product<double>{{a, a_stride, false},
                           {b, b_stride, false},
                           c,
                           c_stride,
                           rows,
                           cols,
                           inner,
                           Product<double>::Into::subtract});
}

/// A lower triangle in half the room of a square: kBlock rows at a time lie as far apart as the last of them
/// is long. What a block has above the diagonal is scratch.
class Triangle {
 public:
  explicit Triangle(size_t n) : n_(n), data_(begin_of((n + kBlock - 1) / kBlock)) {}
  size_t size() const { return n_; }
  /// Between row i and the next of its block.
  size_t stride(size_t i) const { return (i / kBlock + 1) * kBlock; }
  double* row(size_t i) { return data_.data() + begin_of(i / kBlock) + i % kBlock * stride(i); }

 private:
  static size_t begin_of(size_t block) { return kBlock * kBlock * (block * (block + 1) / 2); }
  size_t n_;
  std::vector<double> data_;
};

/// Lower Cholesky factor in place; false when a pivot is not positive.
bool cholesky(Triangle& a, ThreadPool& pool) {
  const size_t n = a.size();
  std::vector<double> turned;   // (block, n): the columns at hand, as rows
  constexpr size_t kTile = 32;  // rows of one block
  for (size_t k = 0; k < n; k += kBlock) {
    const size_t end = std::min(n, k + kBlock), left = n - end;
    for (size_t i = k; i < end; ++i) {
      for (size_t j = k; j <= i; ++j) {
        const double sum = a.row(i)[j] - dot64(a.row(i) + k, a.row(j) + k, j - k);
        if (i == j) {
          if (!(sum > 0.0) || !std::isfinite(sum)) return false;
          a.row(i)[i] = std::sqrt(sum);
        } else {
          a.row(i)[j] = sum / a.row(j)[j];
        }
      }
    }
    turned.resize((end - k) * left);
    pool.parallel_for(left, 16, [&](size_t b, size_t e, uint32_t) {
      for (size_t i = b; i < e; ++i) {
        double* row = a.row(end + i);
        for (size_t j = k; j < end; ++j) {
          row[j] = (row[j] - dot64(row + k, a.row(j) + k, j - k)) / a.row(j)[j];
          turned[(j - k) * left + i] = row[j];
        }
      }
    });
    // The tiles near the end are the long ones: each is a job of its own.
    pool.parallel_for_each((left + kTile - 1) / kTile, [&](size_t b, size_t e, uint32_t) {
      for (size_t t = b; t < e; ++t) {
        const size_t i = t * kTile, rows = std::min(kTile, left - i);
        double* first = a.row(end + i);
        const size_t stride = a.stride(end + i);
        subtract_product64(first + end, stride, first + k, stride, turned.data(), left, rows, end - k,
                           i + rows);
      }
    });
  }
  return true;
}

/// l^-1 in the place of l. A column of its blocks depends on l's columns from its own on alone, so a few at a
/// time are found beside and then written over those.
void invert_lower(Triangle& l, ThreadPool& pool) {
  const size_t n = l.size(), blocks = (n + kBlock - 1) / kBlock;
  const size_t round = std::min<size_t>(blocks, 2 * size_t{pool.threads()});
  std::vector<double> beside(round * n * kBlock);  // (column, rows from its block's on, kBlock)
  for (size_t first = 0; first < blocks; first += round) {
    const size_t count = std::min(round, blocks - first);
    pool.parallel_for_each(count, [&](size_t b, size_t e, uint32_t) {
      for (size_t column = b; column < e; ++column) {
        const size_t j0 = (first + column) * kBlock, width = std::min(kBlock, n - j0);
        double* const x = &beside[column * n * kBlock];
        std::fill_n(x, (n - j0) * kBlock, 0.0);
        for (size_t i = 0; i < width; ++i) x[i * kBlock + i] = 1.0;
        for (size_t i0 = j0; i0 < n; i0 += kBlock) {
          const size_t i1 = std::min(n, i0 + kBlock), stride = l.stride(i0);
          double* const here = x + (i0 - j0) * kBlock;
          subtract_product64(here, kBlock, l.row(i0) + j0, stride, x, kBlock, i1 - i0, i0 - j0, width);
          for (size_t i = i0; i < i1; ++i) {
            double* row = here + (i - i0) * kBlock;
            subtract_product64(row, kBlock, l.row(i) + i0, stride, here, kBlock, 1, i - i0, width);
            for (size_t j = 0; j < width; ++j) row[j] /= l.row(i)[i];
          }
        }
      }
    });
    pool.parallel_for_each(count, [&](size_t b, size_t e, uint32_t) {
      for (size_t column = b; column < e; ++column) {
        const size_t j0 = (first + column) * kBlock, width = std::min(kBlock, n - j0);
        const double* x = &beside[column * n * kBlock];
        for (size_t i = j0; i < n; ++i, x += kBlock) std::copy_n(x, width, l.row(i) + j0);
      }
    });
  }
}

/// out (tokens, cols) = a - b, each token times its weight; b and weights may be null.
void weigh(const Matrix& a, const Matrix* b, const float* weights, Matrix& out, ThreadPool& pool) {
  const size_t cols = a.cols();
  out.shape(a.rows(), cols);
  pool.parallel_for(a.rows(), 64, [&](size_t begin, size_t end, uint32_t) {
    for (size_t t = begin; t < end; ++t) {
      const float weight = weights != nullptr ? weights[t] : 1.0f;
      const float *x = a.row(t), *less = b != nullptr ? b->row(t) : nullptr;
      float* y = out.row(t);
      for (size_t c = 0; c < cols; ++c) y[c] = weight * (x[c] - (less != nullptr ? less[c] : 0.0f));
    }
  });
}

/// Gives `use` a matrix whose contents and shape mean nothing; memory stays from one call to the next where
/// it is not much.
template <class Use>
void with_scratch(const Use& use) {
  thread_local Matrix scratch;
  use(scratch);
  if (scratch.size() > kKeptFloats) scratch = Matrix();
}

constexpr size_t kOutputs = 128;  // rows of a product that one job finds

/// c (a.cols, b.cols) += a^T b on all cores; `lower`: on and below the diagonal, and a little above it.
void add_products(const Matrix& a, const Matrix& b, Matrix& c, bool lower, ThreadPool& pool) {
  // The tiles near the end are the long ones: each is a job of its own.
  pool.parallel_for_each((a.cols() + kOutputs - 1) / kOutputs, [&](size_t first, size_t last, uint32_t) {
    for (size_t tile = first; tile < last; ++tile) {
      const size_t j = tile * kOutputs, rows = std::min(kOutputs, a.cols() - j);
      const size_t cols = lower ? j + rows : b.cols();
      multiply_tn({a.data() + j, a.rows(), rows, a.cols()}, {b.data(), b.rows(), cols, b.cols()}, c.row(j),
                  c.cols(), Write::add);
    }
  });
}

}  // namespace

bool cholesky(std::vector<double>& a, size_t n, ThreadPool& pool) {
  Triangle lower(n);
  for (size_t i = 0; i < n; ++i) std::copy_n(&a[i * n], i + 1, lower.row(i));
  if (!cholesky(lower, pool)) return false;
  for (size_t i = 0; i < n; ++i) std::copy_n(lower.row(i), i + 1, &a[i * n]);
  return true;
}

void Moments::add(const Moments& other) {
  if (other.empty()) return;
  if (empty()) {
    *this = other;
    return;
  }
  add_scaled(1.0f, other.second.data(), second.data(), second.size());
  for (size_t c = 0; c < first.size(); ++c) first[c] += other.first[c];
  weight += other.weight;
}

void add_moments(Moments& m, const Matrix& x, const float* weights, ThreadPool& pool) {
  const size_t cols = x.cols(), tokens = x.rows();
  if (m.second.empty()) {
    m.second.reset(cols, cols);
    m.first.assign(cols, 0.0);
  }
  std::vector<float> sum(cols, 0.0f);
  for (size_t t = 0; t < tokens; ++t) m.weight += weights != nullptr ? weights[t] : 1.0f;
  pool.parallel_for(cols, kBlock, [&](size_t begin, size_t end, uint32_t) {
    for (size_t t = 0; t < tokens; ++t)
      add_scaled(weights != nullptr ? weights[t] : 1.0f, x.row(t) + begin, sum.data() + begin, end - begin);
  });
  for (size_t c = 0; c < cols; ++c) m.first[c] += sum[c];
  // On and below the diagonal; the rest is mirrored when the sums are used.
  if (weights == nullptr) return add_products(x, x, m.second, true, pool);
  with_scratch([&](Matrix& weighed) {
    weigh(x, nullptr, weights, weighed, pool);
    add_products(weighed, x, m.second, true, pool);
  });
}

void add_drift(Matrix& sum, const Matrix& wanted, const Matrix& had, const Matrix& x, const float* weights,
               ThreadPool& pool) {
  if (sum.empty()) sum.reset(had.cols(), x.cols());
  with_scratch([&](Matrix& missed) {
    weigh(wanted, &had, weights, missed, pool);
    add_products(missed, x, sum, false, pool);
  });
}

Drift in_order(Drift d, const std::vector<uint32_t>& order, double share) {
  const auto scale = static_cast<float>(share / d.weight);
  const size_t cols = order.size();
  Matrix inputs(cols, cols);
  for (size_t i = 0; i < cols; ++i) {
    for (size_t j = 0; j < cols; ++j) inputs.row(i)[j] = scale * d.inputs.row(order[i])[order[j]];
  }
  d.inputs = std::move(inputs);
  std::vector<float> row(cols);
  for (size_t r = 0; r < d.residual.rows(); ++r) {
    std::copy_n(d.residual.row(r), cols, row.begin());
    for (size_t j = 0; j < cols; ++j) d.residual.row(r)[j] = scale * row[order[j]];
  }
  d.weight = share;
  return d;
}

void make_up(Matrix& w, size_t first, const Drift& drift, const Matrix& h, const Factor& factor,
             ThreadPool& pool) {
  const size_t cols = w.cols();
  // w + (w D + R) H^-1, with H^-1 = U^T U, so that (w D + R) U^T times itself is what the change gives out.
  constexpr size_t kBounded = 64, kMost = 512;  // rows bounded together; at a time: products pack the squares
  const size_t share = (w.rows() + pool.threads() - 1) / pool.threads();
  const size_t tile = std::clamp((share + kBounded - 1) / kBounded * kBounded, kBounded, kMost);
  pool.parallel_for_each((w.rows() + tile - 1) / tile, [&](size_t b, size_t e, uint32_t) {
    Matrix wanted, along, own;
    for (size_t at = b; at < e; ++at) {
      const size_t r0 = at * tile, rows = std::min(tile, w.rows() - r0);
      wanted.shape(rows, cols);
      along.shape(rows, cols);
      own.shape(rows, cols);
      multiply_nn({w.row(r0), rows, cols, cols}, rows_of(drift.inputs), wanted.data(), cols);
      for (size_t r = 0; r < rows && !drift.residual.empty(); ++r) {
        const float* residual = drift.residual.row(first + r0 + r);
        for (size_t j = 0; j < cols; ++j) wanted.row(r)[j] += residual[j];
      }
      multiply_nt(rows_of(wanted), rows_of(factor.upper), along.data(), cols);
      multiply_nn({w.row(r0), rows, cols, cols}, rows_of(h), own.data(), cols);
      for (size_t b0 = 0; b0 < rows; b0 += kBounded) {
        const size_t b1 = std::min(rows, b0 + kBounded);
        double given = 0.0, change = 0.0;
        for (size_t r = b0; r < b1; ++r) {
          given += double{dot(w.row(r0 + r), own.row(r), cols)};
          change += double{dot(along.row(r), along.row(r), cols)};
        }
        if (change <= given) continue;
        const auto scale = static_cast<float>(std::sqrt(std::max(given, 0.0) / change));
        for (size_t i = b0 * cols; i < b1 * cols; ++i) along.data()[i] *= scale;
      }
      multiply_nn(rows_of(along), rows_of(factor.upper), w.row(r0), cols, Write::add);
    }
  });
}

Result<Matrix> damped(const Moments& m, const std::vector<uint32_t>& order, double damping) {
  const size_t n = m.second.rows();
  Matrix h(n, n);
  double trace = 0.0;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) {
      const size_t a = std::max(order[i], order[j]), b = std::min(order[i], order[j]);
      h.row(i)[j] = static_cast<float>(m.second.row(a)[b] / m.weight);
    }
    trace += h.row(i)[i];
  }
  if (!std::isfinite(trace)) {
    return fail(Code::corrupt,
                "the second moments of the calibration are not finite; the model overflows on this text");
  }
  const double mean = trace > 0.0 ? trace / static_cast<double>(n) : 1.0;
  for (size_t i = 0; i < n; ++i) {
    if (h.row(i)[i] <= 0.0f) h.row(i)[i] = static_cast<float>(mean);
    h.row(i)[i] += static_cast<float>(damping * mean);
  }
  return h;
}

Result<Factor> factor_inverse(const Matrix& h, ThreadPool& pool) {
  const size_t n = h.rows();
  Triangle a(n);
  // With the indices reversed, H = L L^T becomes R R^T with R upper triangular, and R^-1 is U.
  for (double more = 0.0;; more = more == 0.0 ? 1e-3 : more * 10.0) {
    double mean = 0.0;
    for (size_t i = 0; i < n; ++i) mean += h.row(i)[i] / static_cast<double>(n);
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j <= i; ++j) a.row(i)[j] = h.row(n - 1 - i)[n - 1 - j];
      a.row(i)[i] += more * mean;
    }
    if (cholesky(a, pool)) break;
    if (more > 1.0) {
      return fail(Code::corrupt, "second moments of ", n, " inputs have no Cholesky factor even when damped");
    }
  }
  invert_lower(a, pool);
  Factor f;
  f.upper.reset(n, n);
  std::vector<double> inverse(n, 0.0);
  for (size_t i = 0; i < n; ++i) {
    const double* row = a.row(n - 1 - i);
    for (size_t j = i; j < n; ++j) {
      const double u = row[n - 1 - j];
      f.upper.row(i)[j] = static_cast<float>(u);
      inverse[j] += u * u;
    }
  }
  f.inverse.assign(inverse.begin(), inverse.end());
  return f;
}

}  // namespace minnow::compress
