#include "compress/mlwq/factor.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

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

/// GCC keeps vectors in registers where it leaves an array of numbers in memory.
typedef double Eight __attribute__((vector_size(64)));

/// c (rows, cols) -= a (rows, inner) b (inner, cols), rows c_stride, a_stride and b_stride apart.
MINNOW_CLONES void subtract_product64(double* c, size_t c_stride, const double* a, size_t a_stride,
                                      const double* b, size_t b_stride, size_t rows, size_t inner,
                                      size_t cols) {
  constexpr size_t kSide = 64;  // sums that stay in registers
  constexpr size_t kWorthPacking = 4;
  alignas(64) double packed[kSide * kSide];  // rows a page apart would share a few lines of the cache
  for (size_t k0 = 0; k0 < inner; k0 += kSide) {
    const size_t count = std::min(kSide, inner - k0);
    for (size_t j = 0; j < cols; j += kSide) {
      const size_t width = std::min(kSide, cols - j);
      const double* block = b + k0 * b_stride + j;
      size_t stride = b_stride;
      if (rows >= kWorthPacking) {
        for (size_t k = 0; k < count; ++k) std::memcpy(packed + k * kSide, block + k * stride, width * 8);
        block = packed, stride = kSide;
      }
      for (size_t r = 0; r < rows; ++r) {
        double* y = c + r * c_stride + j;
        const double* x = a + r * a_stride + k0;
        if (width < kSide) {
          for (size_t k = 0; k < count; ++k) {
            for (size_t i = 0; i < width; ++i) y[i] -= x[k] * block[k * stride + i];
          }
          continue;
        }
        Eight sum[kSide / 8];
        std::memcpy(sum, y, sizeof sum);
        for (size_t k = 0; k < count; ++k) {
          for (size_t i = 0; i < kSide / 8; ++i) {
            Eight v;
            std::memcpy(&v, block + k * stride + 8 * i, sizeof v);
            sum[i] -= x[k] * v;
          }
        }
        std::memcpy(y, sum, sizeof sum);
      }
    }
  }
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

typedef float Four __attribute__((vector_size(16)));

/// Four rows of four become their columns.
void turn(Four (&r)[4]) {
  const Four a = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5);
  const Four b = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
  const Four c = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
  const Four d = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
  r[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5), r[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
  r[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5), r[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
}

/// Tokens in columns: out (cols, tokens) = (a - b)^T, each token times its weight; b and weights may be null.
void turn(const Matrix& a, const Matrix* b, const float* weights, Matrix& out, ThreadPool& pool) {
  const size_t cols = a.cols(), tokens = a.rows();
  out.shape(cols, tokens);
  const auto one = [&](size_t t, size_t c) {
    const float v = a.row(t)[c] - (b != nullptr ? b->row(t)[c] : 0.0f);
    out.row(c)[t] = weights != nullptr ? weights[t] * v : v;
  };
  const auto four = [&](size_t t, size_t c) {
    Four rows[4];
    for (size_t i = 0; i < 4; ++i) {
      std::memcpy(&rows[i], a.row(t + i) + c, sizeof(Four));
      Four less = {};
      if (b != nullptr) std::memcpy(&less, b->row(t + i) + c, sizeof less);
      rows[i] -= less;
      if (weights != nullptr) rows[i] *= weights[t + i];
    }
    turn(rows);
    for (size_t i = 0; i < 4; ++i) std::memcpy(out.row(c + i) + t, &rows[i], sizeof(Four));
  };
  constexpr size_t kTurn = 32;
  pool.parallel_for((cols + kTurn - 1) / kTurn, 1, [&](size_t begin, size_t end, uint32_t) {
    const size_t c0 = begin * kTurn, c1 = std::min(cols, end * kTurn);
    for (size_t t0 = 0; t0 < tokens; t0 += kTurn) {
      const size_t t1 = std::min(tokens, t0 + kTurn);
      for (size_t c = c0; c < c1; c += 4) {
        for (size_t t = t0; t < t1; t += 4) {
          if (c + 4 <= c1 && t + 4 <= t1) {
            four(t, c);
            continue;
          }
          for (size_t j = c; j < std::min(c + 4, c1); ++j) {
            for (size_t i = t; i < std::min(t + 4, t1); ++i) one(i, j);
          }
        }
      }
    }
  });
}

/// Gives `use` a matrix whose contents and shape mean nothing; memory stays from one call to the next where
/// it is not much.
template <class Use>
void turned_for_now(const Use& use) {
  thread_local Matrix turned;
  use(turned);
  if (turned.size() > kKeptFloats) turned = Matrix();
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
  // Tiles of columns, on and below the diagonal; the rest is mirrored when the sums are used. The inputs are
  // turned once for all tiles, and what a product packs is a tile's own columns.
  turned_for_now([&](Matrix& turned) {
    turn(x, nullptr, weights, turned, pool);
    constexpr size_t kTile = 64;
    const size_t tiles = (cols + kTile - 1) / kTile;
    pool.parallel_for_each(tiles, [&](size_t b, size_t e, uint32_t) {
      for (size_t tile = b; tile < e; ++tile) {
        const size_t j = tile * kTile, width = std::min(kTile, cols - j);
        const Rows left{turned.row(j), cols - j, tokens, tokens};
        if (weights == nullptr)
          multiply_nt(left, {turned.row(j), width, tokens, tokens}, m.second.row(j) + j, cols, Write::add);
        else
          multiply_nn(left, {x.data() + j, tokens, width, cols}, m.second.row(j) + j, cols, Write::add);
      }
    });
  });
}

void add_drift(Matrix& sum, const Matrix& wanted, const Matrix& had, const Matrix& x, const float* weights,
               ThreadPool& pool) {
  const size_t cols = x.cols(), tokens = x.rows();
  if (sum.empty()) sum.reset(had.cols(), cols);
  turned_for_now([&](Matrix& turned) {
    turn(wanted, &had, weights, turned, pool);
    constexpr size_t kTile = 64;
    pool.parallel_for_each((cols + kTile - 1) / kTile, [&](size_t b, size_t e, uint32_t) {
      for (size_t tile = b; tile < e; ++tile) {
        const size_t j = tile * kTile, width = std::min(kTile, cols - j);
        multiply_nn(rows_of(turned), {x.data() + j, tokens, width, cols}, sum.data() + j, cols, Write::add);
      }
    });
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
