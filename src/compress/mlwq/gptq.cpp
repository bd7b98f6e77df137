#include "compress/mlwq/gptq.h"

#include <algorithm>
#include <cmath>

namespace minnow::compress {
namespace {

constexpr size_t kRowTile = 8;  // rows that share a read of U or H

/// w[r][j] -= sum over c of e[r][c] u[c][j], for a tile of rows and j in [from, to).
MINNOW_CLONES void carry_on(float* w, size_t rows, size_t cols, const float* e, size_t count, const float* u,
                            size_t from, size_t to) {
  constexpr size_t kChunk = 64;
  size_t j = from;
  for (; j + kChunk <= to; j += kChunk) {
    for (size_t r = 0; r < rows; ++r) {
      float sum[kChunk];
      float* y = w + r * cols + j;
      for (size_t i = 0; i < kChunk; ++i) sum[i] = y[i];
      for (size_t c = 0; c < count; ++c) {
        const float x = e[r * count + c];
        const float* row = u + c * cols + j;
        for (size_t i = 0; i < kChunk; ++i) sum[i] -= x * row[i];
      }
      for (size_t i = 0; i < kChunk; ++i) y[i] = sum[i];
    }
  }
  for (; j < to; ++j) {
    for (size_t r = 0; r < rows; ++r) {
      float sum = w[r * cols + j];
      for (size_t c = 0; c < count; ++c) sum -= e[r * count + c] * u[c * cols + j];
      w[r * cols + j] = sum;
    }
  }
}

MINNOW_CLONES void subtract_scaled(float a, const float* x, float* y, size_t n) {
  for (size_t i = 0; i < n; ++i) y[i] -= a * x[i];
}

struct Job {
  const Matrix& w;
  const Matrix& h;
  const Factor& factor;
  const std::vector<Group>& groups;
  const GptqOptions& options;
  std::vector<float> importance;  // of an error in each column once later ones have made up for it
  GptqResult& out;
};

void quantise_rows(Job& job, size_t r0, size_t r1) {
  const size_t cols = job.w.cols(), rows = r1 - r0;
  std::vector<float> w(job.w.row(r0), job.w.row(r0) + rows * cols), errors;
  const Matrix& u = job.factor.upper;
  for (size_t g = 0; g < job.groups.size(); ++g) {
    const Group& group = job.groups[g];
    errors.assign(rows * group.count, 0.0f);
    for (size_t r = 0; r < rows; ++r) {
      float* row = &w[r * cols];
      Grid& grid = job.out.grids[(r0 + r) * job.groups.size() + g];
      grid = fit_grid(row + group.begin, &job.importance[group.begin], group.count, group.bits,
                      job.options.clip);
      const Rounding round(grid, group.bits);
      for (uint32_t c = 0; c < group.count; ++c) {
        const size_t at = group.begin + c;
        const uint8_t code = round(row[at]);
        const float value = value_of(grid, code);
        job.out.codes[(r0 + r) * cols + at] = code;
        job.out.values.row(r0 + r)[at] = value;
        if (!job.options.compensate) continue;
        const float e = (row[at] - value) / u.row(at)[at];
        errors[r * group.count + c] = e;
        // w - q is the sum of e_c U_c, and U H U^T the identity
        job.out.errors[r0 + r] += double{e} * e;
        subtract_scaled(e, u.row(at) + at + 1, row + at + 1, group.count - c - 1);
      }
    }
    if (job.options.compensate) {
      carry_on(w.data(), rows, cols, errors.data(), group.count, u.row(group.begin),
               group.begin + group.count, cols);
    }
  }
}

/// Coordinate descent of one row. `g` holds H (q - w) throughout.
class Descent {
 public:
  Descent(Job& job, size_t row) : job_(job), row_(row), cols_(job.w.cols()), g_(cols_, 0.0f) {
    const float* w = job.w.row(row);
    const float* q = values();
    for (size_t c = 0; c < cols_; ++c) {
      const float e = q[c] - w[c];
      if (e != 0.0f) add_scaled(e, job.h.row(c), g_.data(), cols_);
    }
  }

  void round() {
    for (size_t g = 0; g < job_.groups.size(); ++g) refit(g);
    for (size_t g = 0; g < job_.groups.size(); ++g) codes(g);
  }

 private:
  float* values() { return job_.out.values.row(row_); }
  uint8_t* codes_at() { return &job_.out.codes[row_ * cols_]; }
  Grid& grid(size_t g) { return job_.out.grids[row_ * job_.groups.size() + g]; }

  void move(size_t c, float to) {
    float* q = values();
    const float d = to - q[c];
    q[c] = to;
    if (d != 0.0f) add_scaled(d, job_.h.row(c), g_.data(), cols_);
  }

  /// Each code to the one that is best while all others stay.
  void codes(size_t g) {
    const Group& group = job_.groups[g];
    const Grid grid_now = grid(g);
    if (!(grid_now.scale > 0.0f)) return;
    const Rounding round(grid_now, group.bits);
    for (uint32_t c = group.begin; c < group.begin + group.count; ++c) {
      const float wanted = values()[c] - g_[c] / job_.h.row(c)[c];
      const uint8_t code = round(wanted);
      if (code == codes_at()[c]) continue;
      codes_at()[c] = code;
      move(c, value_of(grid_now, code));
    }
  }

  /// The scale that is best for the codes as they are.
  void refit(size_t g) {
    const Group& group = job_.groups[g];
    Grid& now = grid(g);
    if (group.bits == 8 || !(now.scale > 0.0f)) return;
    float d[160];
    double along = 0.0, curvature = 0.0;
    for (uint32_t i = 0; i < group.count; ++i) {
      d[i] = static_cast<float>(codes_at()[group.begin + i]) - now.zero;
      along += double{d[i]} * g_[group.begin + i];
    }
    for (uint32_t i = 0; i < group.count; ++i)
      curvature += d[i] * dot(job_.h.row(group.begin + i) + group.begin, d, group.count);
    if (!(curvature > 0.0)) return;
    const float scale = nearest_half(now.scale - static_cast<float>(along / curvature));
    if (!(scale > 0.0f) || !std::isfinite(scale) || scale == now.scale) return;
    now.scale = scale;
    for (uint32_t i = 0; i < group.count; ++i) move(group.begin + i, scale * d[i]);
  }

  Job& job_;
  size_t row_, cols_;
  std::vector<float> g_;
};

}  // namespace

Result<GptqResult> quantise_linear(const Matrix& w, const Matrix& h, const Factor& factor,
                                   const std::vector<Group>& groups, const GptqOptions& options,
                                   ThreadPool& pool) {
  GptqResult out;
  out.codes.resize(w.size());
  out.grids.resize(w.rows() * groups.size());
  out.values.reset(w.rows(), w.cols());
  if (options.compensate) out.errors.assign(w.rows(), 0.0);
  Job job{w, h, factor, groups, options, {}, out};
  job.importance.assign(w.cols(), 1.0f);
  for (size_t c = 0; c < w.cols() && !h.empty(); ++c) {
    const float u = options.compensate ? factor.upper.row(c)[c] : 0.0f;
    job.importance[c] = options.compensate ? 1.0f / (u * u) : h.row(c)[c];
  }
  const size_t tiles = (w.rows() + kRowTile - 1) / kRowTile;
  pool.parallel_for(tiles, 1, [&](size_t b, size_t e, uint32_t) {
    for (size_t t = b; t < e; ++t) {
      const size_t r0 = t * kRowTile, r1 = std::min(w.rows(), r0 + kRowTile);
      quantise_rows(job, r0, r1);
      if (options.descents == 0) continue;
      for (size_t r = r0; r < r1; ++r) {
        Descent descent(job, r);
        for (uint32_t i = 0; i < options.descents; ++i) descent.round();
      }
    }
  });
  const auto too_large =
      std::find_if(out.grids.begin(), out.grids.end(), [](const Grid& g) { return !std::isfinite(g.scale); });
  if (too_large != out.grids.end()) {
    return fail(Code::unsupported, "it holds values too large for codes with f16 scales; store it as floats");
  }
  return out;
}

std::vector<double> row_errors(const Matrix& w, const Matrix& q, const Matrix& h, ThreadPool& pool) {
  std::vector<double> out(w.rows());
  constexpr size_t kTile = 32;
  const size_t tiles = (w.rows() + kTile - 1) / kTile;
  pool.parallel_for(tiles, 1, [&](size_t b, size_t e, uint32_t) {
    Matrix d, dh;
    for (size_t t = b; t < e; ++t) {
      const size_t r0 = t * kTile, rows = std::min(kTile, w.rows() - r0);
      d.shape(rows, w.cols());
      dh.shape(rows, w.cols());
      for (size_t i = 0; i < rows * w.cols(); ++i) d.data()[i] = w.row(r0)[i] - q.row(r0)[i];
      if (!h.empty()) multiply_nt(rows_of(d), rows_of(h), dh.data(), dh.cols());
      for (size_t r = 0; r < rows; ++r)
        out[r0 + r] = dot(d.row(r), h.empty() ? d.row(r) : dh.row(r), w.cols());
    }
  });
  return out;
}

}  // namespace minnow::compress
