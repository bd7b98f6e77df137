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

  void run(const Network& net, const ModelEnds& w, const Matrix& x, const std::vector<int32_t>& ids,
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

Result<EndSensitivity> measure_sensitivity(const Network& net, const ImportedModel& model,
                                           SequenceSpan sequences, bool weighted, uint64_t seed,
                                           ThreadPool& pool, Spill& spill, const BlockVisitor& visit,
                                           const StageProgress& progress) {
  const size_t blocks = model.layers.size(), count = sequences.size(), round = pool.threads();
  const size_t hidden = size_t{net.tokens()} * net.config().hidden_size;
  uint64_t done = 0;
  const uint64_t work = count * (blocks * 4 + 1);
  const auto tick = [&](size_t n) -> Status {
    if (!progress || progress("sensitivity", done += n, work)) return {};
    return fail(Code::cancelled, "cancelled");
  };
  EndSensitivity out;
  double tokens = 0.0;
  std::vector<Tape> tapes(round);
  std::vector<Matrix> in(round), x(round), dx(round);
  MINNOW_ASSIGN(MatrixStore gradients, MatrixStore::create(count, hidden, spill));
  std::vector<MatrixStore> inputs(blocks);  // of every block
  for (size_t b = 0; b < blocks; ++b) {
    MINNOW_ASSIGN(inputs[b], MatrixStore::create(count, hidden, spill));
  }
  MatrixStore& behind = gradients;  // the last block's outputs, until their gradients take their place

  {
    MINNOW_ASSIGN(const ModelEnds ends, read_ends(model, pool));
    MINNOW_TRY(for_sequences(pool, count, [&](size_t s, uint32_t slot) {
      net.embed(sequences[s], ends.embedding, ends.in, x[slot]);
      return inputs[0].put(s, x[slot]);
    }));
  }
  for (size_t b = 0; b < blocks; ++b) {
    MINNOW_ASSIGN(const BlockWeights w, read_block(model.layers[b], pool));
    for (size_t first = 0; first < count; first += round) {
      const size_t n = std::min(round, count - first);
      const auto forward = [&](size_t i, uint32_t) -> Status {
        MINNOW_TRY(inputs[b].get(first + i, in[i]));
        net.forward(w, in[i], tapes[i], x[i]);
        return (b + 1 < blocks ? inputs[b + 1] : behind).put(first + i, x[i]);
      };
      MINNOW_TRY(for_sequences(pool, n, forward));
      MINNOW_TRY(tick(n));
    }
  }
  release(tapes);
  {
    MINNOW_ASSIGN(const ModelEnds ends, read_ends(model, pool));
    std::vector<HeadPass> heads(round);
    std::vector<double> head_outputs(ends.head_matrix().rows(), 0.0);
    for (size_t first = 0; first < count; first += round) {
      const size_t n = std::min(round, count - first);
      const auto head = [&](size_t i, uint32_t) -> Status {
        MINNOW_TRY(behind.get(first + i, x[i]));
        heads[i].run(net, ends, x[i], sequences[first + i], seed + first + i);
        net.finish_backward(x[i], ends.final_norm, ends.out, heads[i].dfinished, dx[i]);
        return gradients.put(first + i, dx[i]);
      };
      MINNOW_TRY(for_sequences(pool, n, head));
      for (size_t i = 0; i < n; ++i) {
        tokens += static_cast<double>(x[i].rows());
        out.nll += heads[i].nll;
        for (size_t v = 0; v < head_outputs.size(); ++v) head_outputs[v] += heads[i].outputs[v];
        if (!weighted) level(heads[i].token_weights);
        add_moments(out.head.moments, heads[i].finished, heads[i].token_weights.data(), pool);
      }
      MINNOW_TRY(tick(n));
    }
    normalise_rows(out.head, std::move(head_outputs));
    out.head.tokens = tokens;
    out.nll /= tokens;
  }
  for (size_t b = blocks; b-- > 0;) {
    MINNOW_ASSIGN(const BlockWeights w, read_block(model.layers[b], pool));
    BlockSensitivity found;
    found.token_weights.resize(count);
    std::array<std::vector<double>, kRoles> outputs;
    for (size_t first = 0; first < count; first += round) {
      const size_t n = std::min(round, count - first);
      const auto back = [&](size_t i, uint32_t) -> Status {
        MINNOW_TRY(inputs[b].get(first + i, in[i]));
        MINNOW_TRY(gradients.get(first + i, dx[i]));
        net.record(w, in[i], tapes[i]);
        net.backward(w, in[i], tapes[i], dx[i], x[i]);
        return gradients.put(first + i, x[i]);
      };
      MINNOW_TRY(for_sequences(pool, n, back));
      for (size_t i = 0; i < n; ++i) {
        for (Role r : kAllRoles) {
          if (w[r].empty()) continue;
          const auto role = static_cast<size_t>(r);
          std::vector<float>& weights = found.token_weights[first + i][role];
          add_squares(tapes[i].dy[role], weights, outputs[role]);
          if (!weighted) level(weights);
          add_moments(found.linear[role].moments, tapes[i].input(r), weights.data(), pool);
        }
      }
      MINNOW_TRY(tick(3 * n));
    }
    inputs[b] = MatrixStore();
    for (size_t role = 0; role < kRoles; ++role) {
      LinearSensitivity& s = found.linear[role];
      if (s.moments.empty()) continue;
      normalise_rows(s, std::move(outputs[role]));
      s.tokens = tokens;
      const auto mean = static_cast<float>(s.moments.weight / tokens);
      if (!(mean > 0.0f)) continue;
      for (auto& sequence : found.token_weights) {
        for (float& v : sequence[role]) v /= mean;
      }
    }
    release(tapes);  // the visitor needs the room
    MINNOW_TRY(visit(b, w, std::move(found)));
  }
  MINNOW_ASSIGN(const ModelEnds ends, read_ends(model, pool));
  out.embedding_channels.assign(ends.embedding.cols(), 0.0);
  out.token_share.assign(ends.embedding.rows(), 0.0);
  Matrix dembedding;
  for (size_t s = 0; s < count; ++s) {
    MINNOW_TRY(gradients.get(s, dx[0]));
    net.embed_backward(dx[0], ends.in, dembedding);
    for (size_t t = 0; t < dembedding.rows(); ++t) {
      out.token_share[static_cast<size_t>(sequences[s][t])] += 1.0 / tokens;
      for (size_t c = 0; c < dembedding.cols(); ++c)
        out.embedding_channels[c] += double{dembedding.row(t)[c]} * dembedding.row(t)[c];
    }
  }
  for (double& v : out.embedding_channels) v /= tokens;
  return out;
}

}  // namespace minnow::compress
