#include "compress/mlwq/gptq.h"

#include <algorithm>
#include <cmath>

#include "compress/product/product.h"

namespace minnow::compress {
namespace {

/// Rows that share a read of U or H: as many as leave some for every thread.
size_t row_tile(size_t rows, size_t threads) {
  constexpr size_t kStep = 8, kMost = 64;
  const size_t share = (rows + threads - 1) / threads;
  return std::clamp((share + kStep - 1) / kStep * kStep, kStep, kMost);
}

/// w (rows, cols) -= e (rows, count) u, of which u has `count` rows from `first` on, in columns [from, to).
void carry_on(float* w, size_t rows, size_t cols, const float* e, size_t count, const Matrix& u, size_t first,
              size_t from, size_t to) {
  multiply(Product<float>{{e, count, false},
                          {u.row(first) + from, u.cols(), false},
                          w + from,
                          cols,
                          rows,
                          to - from,
                          count,
                          Product<float>::Into::subtract});
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
      carry_on(w.data(), rows, cols, errors.data(), group.count, u, group.begin, group.begin + group.count,
               cols);
    }
  }
}

/// Coordinate descent of a tile of rows. `g_` holds H (q - w) throughout, but for what codes() has not yet
/// spread beyond a group: rows spread together, since H is read for that.
class Descent {
 public:
  Descent(Job& job, size_t r0, size_t r1)
      : job_(job), r0_(r0), rows_(r1 - r0), cols_(job.w.cols()), g_(rows_ * cols_, 0.0f) {
    constexpr size_t kBlock = 128;
    for (size_t c0 = 0; c0 < cols_; c0 += kBlock) {
      begin_block(c0, std::min(kBlock, cols_ - c0));
      for (size_t r = 0; r < rows_; ++r) {
        for (size_t i = 0; i < count_; ++i) changes(r)[i] = values(r)[c0 + i] - job_.w.row(r0_ + r)[c0 + i];
      }
      spread();
    }
  }

  void round() {
    for (size_t g = 0; g < job_.groups.size(); ++g) refit(g);
    for (size_t g = 0; g < job_.groups.size(); ++g) codes(g);
  }

 private:
  float* values(size_t r) { return job_.out.values.row(r0_ + r); }
  uint8_t* codes_at(size_t r) { return &job_.out.codes[(r0_ + r) * cols_]; }
  Grid& grid(size_t r, size_t g) { return job_.out.grids[(r0_ + r) * job_.groups.size() + g]; }

  void begin_block(size_t begin, size_t count) {
    begin_ = begin, count_ = count;
    changes_.assign(rows_ * count, 0.0f);
  }
  float* changes(size_t r) { return &changes_[r * count_]; }

  /// g += changes H of the block's columns, for all columns; or all others, where `inside` is done.
  void spread(bool inside = false) {
    if (std::all_of(changes_.begin(), changes_.end(), [](float c) { return c == 0.0f; })) return;
    for (float& c : changes_) c = -c;
    const size_t end = begin_ + count_;
    carry_on(g_.data(), rows_, cols_, changes_.data(), count_, job_.h, begin_, 0, inside ? begin_ : cols_);
    if (inside) carry_on(g_.data(), rows_, cols_, changes_.data(), count_, job_.h, begin_, end, cols_);
  }

  /// Each code to the one that is best while all others stay.
  void codes(size_t at) {
    const Group& group = job_.groups[at];
    begin_block(group.begin, group.count);
    for (size_t r = 0; r < rows_; ++r) {
      const Grid now = grid(r, at);
      if (!(now.scale > 0.0f)) continue;
      const Rounding round(now, group.bits);
      float* g = &g_[r * cols_ + begin_];
      float* q = values(r) + begin_;
      uint8_t* code = codes_at(r) + begin_;
      for (size_t i = 0; i < count_; ++i) {
        const float* h = job_.h.row(begin_ + i) + begin_;
        const uint8_t best = round(q[i] - g[i] / h[i]);
        if (best == code[i]) continue;
        code[i] = best;
        const float to = value_of(now, best), d = to - q[i];
        q[i] = to;
        changes(r)[i] = d;
        add_scaled(d, h, g, count_);
      }
    }
    spread(true);
  }

  /// The scale that is best for the codes as they are.
  void refit(size_t at) {
    const Group& group = job_.groups[at];
    if (group.bits == 8) return;
    begin_block(group.begin, group.count);
    for (size_t r = 0; r < rows_; ++r) {
      Grid& now = grid(r, at);
      if (!(now.scale > 0.0f)) continue;
      float d[160];
      const float* g = &g_[r * cols_ + begin_];
      double along = 0.0, curvature = 0.0;
      for (size_t i = 0; i < count_; ++i) {
        d[i] = static_cast<float>(codes_at(r)[begin_ + i]) - now.zero;
        along += double{d[i]} * g[i];
      }
      for (size_t i = 0; i < count_; ++i) curvature += d[i] * dot(job_.h.row(begin_ + i) + begin_, d, count_);
      if (!(curvature > 0.0)) continue;
      const float scale = nearest_half(now.scale - static_cast<float>(along / curvature));
      if (!(scale > 0.0f) || !std::isfinite(scale) || scale == now.scale) continue;
      now.scale = scale;
      float* q = values(r) + begin_;
      for (size_t i = 0; i < count_; ++i) {
        changes(r)[i] = scale * d[i] - q[i];
        q[i] = scale * d[i];
      }
    }
    spread();
  }

  Job& job_;
  size_t r0_, rows_, cols_;
  std::vector<float> g_;  // (rows, cols)
  size_t begin_ = 0, count_ = 0;
  std::vector<float> changes_;  // (rows, count): of values in columns from `begin` on
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
  const size_t tile = row_tile(w.rows(), pool.threads()), tiles = (w.rows() + tile - 1) / tile;
  pool.parallel_for(tiles, 1, [&](size_t b, size_t e, uint32_t) {
    for (size_t t = b; t < e; ++t) {
      const size_t r0 = t * tile, r1 = std::min(w.rows(), r0 + tile);
      quantise_rows(job, r0, r1);
      if (options.descents == 0) continue;
      Descent descent(job, r0, r1);
      for (uint32_t i = 0; i < options.descents; ++i) descent.round();
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
