#include "compress/mlwq/model_weights.h"

#include <algorithm>
#include <cmath>

#include "compress/mlwq/float_math.h"

namespace minnow::compress {

Result<ModelWeights> read_weights(const ImportedModel& model, ThreadPool& pool) {
  ModelWeights w;
  for (const ImportedLayer& layer : model.layers) {
    MINNOW_ASSIGN(BlockWeights block, read_block(layer, pool));
    w.blocks.push_back(std::move(block));
  }
  MINNOW_ASSIGN(w.embedding, read_matrix(model.embedding.weight, pool));
  w.head_bias = model.embedding.bias;
  if (model.head.present()) {
    MINNOW_ASSIGN(w.head, read_matrix(model.head.weight, pool));
    w.head_bias = model.head.bias;
  }
  if (model.embedding_in.present()) {
    MINNOW_ASSIGN(w.in, read_matrix(model.embedding_in.weight, pool));
  }
  if (model.embedding_out.present()) {
    MINNOW_ASSIGN(w.out, read_matrix(model.embedding_out.weight, pool));
  }
  w.final_norm = {model.final_norm.weight, model.final_norm.bias};
  return w;
}

Status for_sequences(ThreadPool& pool, size_t count,
                     const std::function<void(size_t index, uint32_t slot)>& body) {
  pool.parallel_for(count, 1, [&](size_t begin, size_t end, uint32_t slot) {
    for (size_t i = begin; i < end; ++i) body(i, slot);
  });
  return {};
}

std::vector<Matrix> hidden_states(const Network& net, const ModelWeights& w, const Sequences& sequences,
                                  ThreadPool& pool) {
  std::vector<Matrix> x(sequences.size());
  std::vector<Tape> tapes(pool.threads());
  pool.parallel_for(sequences.size(), 1, [&](size_t begin, size_t end, uint32_t slot) {
    Matrix next;
    for (size_t s = begin; s < end; ++s) {
      net.embed(sequences[s], w.embedding, w.in, x[s]);
      for (const BlockWeights& b : w.blocks) {
        net.forward(b, x[s], tapes[slot], next);
        std::swap(x[s], next);
      }
    }
  });
  return x;
}

HeldOut evaluate(const Network& net, const ModelWeights& w, const Sequences& sequences, uint32_t skip,
                 const ModelWeights* reference, ThreadPool& pool) {
  const std::vector<Matrix> mine = hidden_states(net, w, sequences, pool);
  std::vector<Matrix> theirs;
  if (reference != nullptr) theirs = hidden_states(net, *reference, sequences, pool);
  std::vector<HeldOut> parts(sequences.size());
  pool.parallel_for(sequences.size(), 1, [&](size_t begin, size_t end, uint32_t) {
    Matrix y, z, logits, other;
    for (size_t s = begin; s < end; ++s) {
      const auto& ids = sequences[s];
      net.finish(mine[s], w.final_norm, w.out, y);
      if (reference != nullptr) net.finish(theirs[s], reference->final_norm, reference->out, z);
      constexpr size_t kRows = 128;
      for (size_t t0 = skip - 1; t0 + 1 < ids.size(); t0 += kRows) {
        const size_t rows = std::min(kRows, ids.size() - 1 - t0);
        net.logits({y.row(t0), rows, y.cols(), y.cols()}, w.head_matrix(), w.head_bias, logits);
        if (reference != nullptr)
          net.logits({z.row(t0), rows, z.cols(), z.cols()}, reference->head_matrix(), reference->head_bias,
                     other);
        for (size_t r = 0; r < rows; ++r) {
          const float* l = logits.row(r);
          const double total = log_sum_exp(l, logits.cols());
          parts[s].nll += total - l[ids[t0 + r + 1]];
          ++parts[s].tokens;
          if (reference == nullptr) continue;
          float* p = other.row(r);
          const std::vector<float> raw(p, p + other.cols());
          const ExpSum e = exp_in_place(p, other.cols());
          const double log_sum = e.max + std::log(e.sum);
          parts[s].reference_nll += log_sum - raw[static_cast<size_t>(ids[t0 + r + 1])];
          double kld = 0.0;
          for (size_t v = 0; v < other.cols(); ++v) kld += p[v] / e.sum * (raw[v] - log_sum - l[v] + total);
          parts[s].kld += kld;
        }
      }
    }
  });
  HeldOut sum;
  for (const HeldOut& p : parts) {
    sum.nll += p.nll, sum.tokens += p.tokens;
    sum.kld += p.kld, sum.reference_nll += p.reference_nll;
  }
  const auto n = static_cast<double>(std::max<uint64_t>(sum.tokens, 1));
  sum.nll /= n;
  sum.kld /= n;
  sum.reference_nll /= n;
  return sum;
}

}  // namespace minnow::compress
