// Causal attention of whole sequences: forward with the runtime's kernel, backward a block of queries at a
// time.
#include <algorithm>
#include <cmath>
#include <memory>

#include "base/checked.h"
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

/// Of a head in the rows that the kernel reads.
size_t padded_head(const format::Config& c) {
  return round_up(size_t{c.head_dim}, size_t{32});
}

/// Heads [first, first + count) of m, each padded with zeros.
void spread(const Matrix& m, size_t first, size_t count, const format::Config& c, Matrix& out) {
  const size_t dim = padded_head(c);
  out.reset(m.rows(), count * dim);
  for (size_t t = 0; t < m.rows(); ++t) {
    for (size_t h = 0; h < count; ++h)
      std::copy_n(m.row(t) + (first + h) * c.head_dim, c.head_dim, out.row(t) + h * dim);
  }
}

/// The heads that share a KV head, on one thread.
struct SharedHead {
  Matrix q, k, v, out;
  std::vector<float> scratch;

  void take(const Tape& t, size_t kv_head, const format::Config& c) {
    spread(t.q, kv_head * c.group_size(), c.group_size(), c, q);
    spread(t.k, kv_head, 1, c, k);
    spread(t.v, kv_head, 1, c, v);
  }

  void attend(const AttentionKernel& kernel, const format::Config& c, uint32_t window) {
    const size_t dim = padded_head(c), group = c.group_size(), tokens = q.rows();
    out.shape(tokens, q.cols());
    scratch.resize((attention_scratch_bytes(dim) + 64) / sizeof(float));
    void* aligned = scratch.data();
    size_t space = scratch.size() * sizeof(float);
    AttentionArgs a = {};
    a.scratch = std::align(64, attention_scratch_bytes(dim), aligned, space);
    a.q_token_stride = a.out_token_stride = q.cols(), a.q_head_stride = a.out_head_stride = dim;
    a.k = k.data(), a.v = v.data(), a.row_stride = k.cols() * sizeof(float);
    a.window = window, a.d = dim, a.scale = c.attention_scale, a.cap = c.attention_softcap;
    for (size_t h = 0; h < group; h += kAttentionRows) {
      a.heads = std::min<size_t>(kAttentionRows, group - h);
      const size_t most = kAttentionRows / a.heads;
      for (size_t t = 0; t < tokens; t += most) {
        a.tokens = std::min(most, tokens - t);
        a.q = q.row(t) + h * dim, a.out = out.row(t) + h * dim;
        a.p0 = window != 0 && t + 1 > window ? t + 1 - window : 0;
        a.p1 = t + a.tokens, a.last = t + 1;
        kernel.fn(&a);
      }
    }
  }

  /// What attend() left, to heads [first, first + group) of `to`.
  void gather(size_t first, const format::Config& c, Matrix& to) const {
    const size_t dim = padded_head(c);
    for (size_t t = 0; t < out.rows(); ++t) {
      for (size_t h = 0; h < c.group_size(); ++h)
        std::copy_n(out.row(t) + h * dim, c.head_dim, to.row(t) + (first + h) * c.head_dim);
    }
  }
};

}  // namespace

void Network::attention(const BlockWeights& w, Tape& t) const {
  thread_local SharedHead s;
  const size_t group = config_.group_size();
  t.attn.shape(t.q.rows(), t.q.cols());
  for (size_t h = 0; h < config_.kv_head_count; ++h) {
    s.take(t, h, config_);
    s.attend(*kernels_.attention_f32, config_, w.sliding_window);
    s.gather(h * group, config_, t.attn);
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
