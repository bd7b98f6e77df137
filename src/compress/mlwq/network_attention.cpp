// Causal attention of whole sequences, forward and backward, a block of queries at a time.
#include <algorithm>
#include <cmath>
#include <limits>

#include "compress/mlwq/float_math.h"
#include "compress/mlwq/network.h"

namespace minnow::compress {
namespace {

constexpr size_t kQueries = 128;  // rows of scores held at a time

/// One block of queries of one head, and the keys any of them may see.
struct Piece {
  size_t q0, q1, k0, k1;
  size_t queries() const { return q1 - q0; }
  size_t keys() const { return k1 - k0; }
};

Piece piece_at(size_t q0, size_t tokens, uint32_t window) {
  Piece p{q0, std::min(tokens, q0 + kQueries), 0, 0};
  p.k1 = p.q1;
  p.k0 = window != 0 && q0 + 1 > window ? q0 + 1 - window : 0;
  return p;
}

Rows head_rows(const Matrix& m, size_t first, size_t last, size_t head, size_t dim) {
  return {m.row(first) + head * dim, last - first, dim, m.cols()};
}

/// scores -> probabilities; `capped` receives the scores after the soft cap where there is one.
void probabilities(const Piece& p, const format::Config& c, uint32_t window, Matrix& scores, Matrix* capped) {
  const float cap = c.attention_softcap;
  for (float& s : scores.span()) s *= c.attention_scale;
  if (cap > 0.0f) {
    for (float& s : scores.span()) s = cap * std::tanh(s / cap);
    if (capped != nullptr) *capped = scores;
  }
  for (size_t q = p.q0; q < p.q1; ++q) {
    float* row = scores.row(q - p.q0);
    const size_t first = window != 0 && q + 1 > window ? q + 1 - window : 0;
    std::fill(row, row + (first - p.k0), 0.0f);
    softmax_in_place(row + (first - p.k0), q + 1 - first);
    std::fill(row + (q + 1 - p.k0), row + p.keys(), 0.0f);
  }
}

}  // namespace

void Network::attention(const BlockWeights& w, Tape& t) const {
  const size_t dim = config_.head_dim, tokens = t.q.rows(), group = config_.group_size();
  t.attn.shape(tokens, t.q.cols());
  Matrix scores;
  for (size_t h = 0; h < config_.head_count; ++h) {
    for (size_t q0 = 0; q0 < tokens; q0 += kQueries) {
      const Piece p = piece_at(q0, tokens, w.sliding_window);
      const Rows q = head_rows(t.q, p.q0, p.q1, h, dim), k = head_rows(t.k, p.k0, p.k1, h / group, dim),
                 v = head_rows(t.v, p.k0, p.k1, h / group, dim);
      scores.shape(p.queries(), p.keys());
      multiply_nt(q, k, scores.data(), scores.cols());
      probabilities(p, config_, w.sliding_window, scores, nullptr);
      multiply_nn(rows_of(scores), v, t.attn.row(p.q0) + h * dim, t.attn.cols());
    }
  }
}

void Network::attention_step(const BlockWeights& w, Tape& t, StepCache& cache) const {
  const size_t dim = config_.head_dim, group = config_.group_size(), at = cache.position;
  const size_t first = w.sliding_window != 0 && at + 1 > w.sliding_window ? at + 1 - w.sliding_window : 0;
  t.attn.shape(t.q.rows(), t.q.cols());
  std::vector<float> scores(at + 1 - first);
  for (size_t i = 0; i < t.q.rows(); ++i) {
    Matrix &k = cache.k[i], &v = cache.v[i];
    std::copy_n(t.k.row(i), t.k.cols(), k.row(at));
    std::copy_n(t.v.row(i), t.v.cols(), v.row(at));
    for (size_t h = 0; h < config_.head_count; ++h) {
      const size_t from = h / group * dim;
      for (size_t p = first; p <= at; ++p) {
        float s =
            static_cast<float>(dot(t.q.row(i) + h * dim, k.row(p) + from, dim)) * config_.attention_scale;
        if (config_.attention_softcap > 0.0f)
          s = config_.attention_softcap * std::tanh(s / config_.attention_softcap);
        scores[p - first] = s;
      }
      softmax_in_place(scores.data(), scores.size());
      float* out = t.attn.row(i) + h * dim;
      std::fill(out, out + dim, 0.0f);
      for (size_t p = first; p <= at; ++p) add_scaled(scores[p - first], v.row(p) + from, out, dim);
    }
  }
}

void Network::attention_backward(const BlockWeights& w, const Tape& t, const Matrix& dattn, Matrix& dq,
                                 Matrix& dk, Matrix& dv) const {
  const size_t dim = config_.head_dim, tokens = t.q.rows(), group = config_.group_size();
  dq.reset(tokens, t.q.cols());
  dk.reset(tokens, t.k.cols());
  dv.reset(tokens, t.v.cols());
  Matrix p, capped, dp;
  const float cap = config_.attention_softcap;
  for (size_t h = 0; h < config_.head_count; ++h) {
    for (size_t q0 = 0; q0 < tokens; q0 += kQueries) {
      const Piece at = piece_at(q0, tokens, w.sliding_window);
      const Rows q = head_rows(t.q, at.q0, at.q1, h, dim), k = head_rows(t.k, at.k0, at.k1, h / group, dim),
                 v = head_rows(t.v, at.k0, at.k1, h / group, dim), d = head_rows(dattn, at.q0, at.q1, h, dim);
      p.shape(at.queries(), at.keys());
      multiply_nt(q, k, p.data(), p.cols());
      probabilities(at, config_, w.sliding_window, p, &capped);
      dp.shape(at.queries(), at.keys());
      multiply_nt(d, v, dp.data(), dp.cols());
      multiply_tn(rows_of(p), d, dv.row(at.k0) + h / group * dim, dv.cols(), Write::add);
      for (size_t i = 0; i < at.queries(); ++i) {
        float* row = dp.row(i);
        const float* prob = p.row(i);
        const auto along = static_cast<float>(dot(prob, row, at.keys()));
        for (size_t j = 0; j < at.keys(); ++j) row[j] = prob[j] * (row[j] - along) * config_.attention_scale;
        if (cap > 0.0f) {
          for (size_t j = 0; j < at.keys(); ++j) {
            const float u = capped.row(i)[j] / cap;
            row[j] *= 1.0f - u * u;
          }
        }
      }
      multiply_nn(rows_of(dp), k, dq.row(at.q0) + h * dim, dq.cols());
      multiply_tn(rows_of(dp), q, dk.row(at.k0) + h / group * dim, dk.cols(), Write::add);
    }
  }
}

}  // namespace minnow::compress
