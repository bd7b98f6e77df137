#include "compress/mlwq/sensitivity.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "compress/mlwq/float_math.h"

namespace minnow::compress {
namespace {

/// Sums of squares of a gradient's rows (tokens) and columns (outputs).
void add_squares(const Matrix& g, std::vector<float>& tokens, std::vector<double>& outputs) {
  tokens.assign(g.rows(), 0.0f);
  outputs.resize(g.cols(), 0.0);
  for (size_t t = 0; t < g.rows(); ++t) {
    const float* row = g.row(t);
    double sum = 0.0;
    for (size_t i = 0; i < g.cols(); ++i) {
      const double s = double{row[i]} * row[i];
      sum += s;
      outputs[i] += s;
    }
    tokens[t] = static_cast<float>(sum / static_cast<double>(g.cols()));
  }
}

/// One sequence's way through the head: gradient of -ln p of labels drawn from the model.
struct HeadPass {
  Matrix finished, dfinished;
  std::vector<float> token_weights;
  std::vector<double> outputs;
  double nll = 0.0;

  void run(const Network& net, const ModelWeights& w, const Matrix& x, const std::vector<int32_t>& ids,
           uint64_t seed) {
    net.finish(x, w.final_norm, w.out, finished);
    dfinished.shape(finished.rows(), finished.cols());
    token_weights.clear();
    outputs.assign(w.head_matrix().rows(), 0.0);
    nll = 0.0;
    std::mt19937_64 random(seed);
    std::uniform_real_distribution<double> uniform(0.0, 1.0);
    Matrix logits, d;
    std::vector<float> squares;
    constexpr size_t kRows = 128;
    for (size_t t0 = 0; t0 < x.rows(); t0 += kRows) {
      const size_t rows = std::min(kRows, x.rows() - t0);
      net.logits({finished.row(t0), rows, finished.cols(), finished.cols()}, w.head_matrix(), w.head_bias,
                 logits);
      d = logits;
      for (size_t r = 0; r < rows; ++r) {
        float* p = d.row(r);
        if (t0 + r + 1 < ids.size())
          nll += log_sum_exp(p, d.cols()) - p[static_cast<size_t>(ids[t0 + r + 1])];
        softmax_in_place(p, d.cols());
        double left = uniform(random);
        size_t label = 0;
        while (label + 1 < d.cols() && (left -= p[label]) > 0.0) ++label;
        p[label] -= 1.0f;
      }
      net.logits_backward(logits, d);
      add_squares(d, squares, outputs);
      token_weights.insert(token_weights.end(), squares.begin(), squares.end());
      multiply_nn(rows_of(d), rows_of(w.head_matrix()), dfinished.row(t0), dfinished.cols());
    }
  }
};

/// All tokens alike, the sum kept.
void level(std::vector<float>& weights) {
  double sum = 0.0;
  for (float v : weights) sum += v;
  std::fill(weights.begin(), weights.end(), static_cast<float>(sum / static_cast<double>(weights.size())));
}

void normalise_rows(LinearSensitivity& s, std::vector<double> outputs) {
  double mean = 0.0;
  for (double v : outputs) mean += v / static_cast<double>(outputs.size());
  s.row_weights = std::move(outputs);
  for (double& v : s.row_weights) v = mean > 0.0 ? v / mean : 1.0;
}

}  // namespace

Result<Sensitivity> measure_sensitivity(const Network& net, const ModelWeights& w, const Sequences& sequences,
                                        bool weighted, uint64_t seed, ThreadPool& pool,
                                        const StageProgress& progress) {
  const size_t blocks = w.blocks.size(), count = sequences.size(), round = pool.threads();
  Sensitivity out;
  out.blocks.resize(blocks);
  out.token_weights.resize(count);
  const uint64_t work = count * (blocks * 2 + 1);
  uint64_t done = 0;
  const auto tick = [&](size_t n) { return !progress || progress("sensitivity", done += n, work); };
  std::vector<std::vector<Matrix>> x(round, std::vector<Matrix>(blocks + 1));
  std::vector<Tape> tapes(round);
  std::vector<HeadPass> heads(round);
  std::vector<Matrix> dx(round);
  std::vector<double> head_outputs(w.head_matrix().rows(), 0.0);
  std::vector<std::array<std::vector<double>, kRoles>> outputs(blocks);
  out.embedding_channels.assign(w.embedding.cols(), 0.0);
  out.token_share.assign(w.embedding.rows(), 0.0);
  double tokens = 0.0;

  for (size_t first = 0; first < count; first += round) {
    const size_t n = std::min(round, count - first);
    MINNOW_TRY(for_sequences(pool, n, [&](size_t i, uint32_t) {
      const auto& ids = sequences[first + i];
      net.embed(ids, w.embedding, w.in, x[i][0]);
      for (size_t b = 0; b < blocks; ++b) net.forward(w.blocks[b], x[i][b], tapes[i], x[i][b + 1]);
      heads[i].run(net, w, x[i][blocks], ids, seed + first + i);
      net.finish_backward(x[i][blocks], w.final_norm, w.out, heads[i].dfinished, dx[i], nullptr);
      out.token_weights[first + i].resize(blocks);
    }));
    for (size_t i = 0; i < n; ++i) {
      tokens += static_cast<double>(x[i][0].rows());
      out.nll += heads[i].nll;
      for (size_t v = 0; v < head_outputs.size(); ++v) head_outputs[v] += heads[i].outputs[v];
      std::vector<float>& weights = heads[i].token_weights;
      if (!weighted) level(weights);
      add_moments(out.head.moments, heads[i].finished, weights.data(), pool);
    }
    if (!tick(n * (blocks + 1))) return fail(Code::cancelled, "cancelled");
    for (size_t b = blocks; b-- > 0;) {
      MINNOW_TRY(for_sequences(pool, n, [&](size_t i, uint32_t) {
        Matrix unused, before;
        net.forward(w.blocks[b], x[i][b], tapes[i], unused);
        net.backward(w.blocks[b], x[i][b], tapes[i], dx[i], before, nullptr);
        dx[i] = std::move(before);
      }));
      for (size_t i = 0; i < n; ++i) {
        for (Role r : kAllRoles) {
          if (w.blocks[b][r].empty()) continue;
          const auto role = static_cast<size_t>(r);
          std::vector<float>& weights = out.token_weights[first + i][b][role];
          add_squares(tapes[i].dy[role], weights, outputs[b][role]);
          if (!weighted) level(weights);
          add_moments(out.blocks[b].linear[role].moments, tapes[i].input(r), weights.data(), pool);
        }
      }
      if (!tick(n)) return fail(Code::cancelled, "cancelled");
    }
    Matrix dembedding;
    for (size_t i = 0; i < n; ++i) {
      net.embed_backward(dx[i], w.in, dembedding);
      for (size_t t = 0; t < dembedding.rows(); ++t) {
        out.token_share[static_cast<size_t>(sequences[first + i][t])] += 1.0;
        for (size_t c = 0; c < dembedding.cols(); ++c)
          out.embedding_channels[c] += double{dembedding.row(t)[c]} * dembedding.row(t)[c];
      }
    }
  }
  for (double& v : out.embedding_channels) v /= tokens;
  for (double& v : out.token_share) v /= tokens;
  normalise_rows(out.head, std::move(head_outputs));
  out.head.tokens = tokens;
  for (size_t b = 0; b < blocks; ++b) {
    for (size_t role = 0; role < kRoles; ++role) {
      LinearSensitivity& s = out.blocks[b].linear[role];
      if (s.moments.empty()) continue;
      normalise_rows(s, std::move(outputs[b][role]));
      s.tokens = tokens;
      const auto mean = static_cast<float>(s.moments.weight / tokens);
      if (!(mean > 0.0f)) continue;
      for (auto& sequence : out.token_weights) {
        for (float& v : sequence[b][role]) v /= mean;
      }
    }
  }
  out.nll /= tokens;
  return out;
}

}  // namespace minnow::compress
