#include "compress/mlwq/model_weights.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "compress/mlwq/float_math.h"

namespace minnow::compress {

Result<ModelEnds> read_ends(const ImportedModel& model, ThreadPool& pool) {
  ModelEnds w;
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
                     const std::function<Status(size_t index, uint32_t slot)>& body) {
  Status failure;
  size_t failed = count;
  std::mutex mutex;
  pool.parallel_for(count, 1, [&](size_t begin, size_t end, uint32_t slot) {
    for (size_t i = begin; i < end; ++i) {
      Status status = body(i, slot);
      if (status.ok()) continue;
      const std::lock_guard lock(mutex);
      if (i < failed) failed = i, failure = std::move(status);
      return;
    }
  });
  return failure;
}

namespace {

/// Hidden states behind the last block.
Result<MatrixStore> hidden_states(const Network& net, const WeightSource& w, const Sequences& sequences,
                                  ThreadPool& pool, Spill& spill, const std::function<bool()>& tick) {
  const format::Config& c = net.config();
  MINNOW_ASSIGN(MatrixStore x,
                MatrixStore::create(sequences.size(), size_t{net.tokens()} * c.hidden_size, spill));
  std::vector<Tape> tapes(pool.threads());
  std::vector<Matrix> in(pool.threads()), out(pool.threads());
  MINNOW_TRY(for_sequences(pool, sequences.size(), [&](size_t s, uint32_t slot) {
    net.embed(sequences[s], w.ends->embedding, w.ends->in, out[slot]);
    return x.put(s, out[slot]);
  }));
  for (size_t b = 0; b < w.blocks; ++b) {
    MINNOW_ASSIGN(const BlockWeights block, w.block(b));
    const auto through = [&](size_t s, uint32_t slot) -> Status {
      MINNOW_TRY(x.get(s, in[slot]));
      net.forward(block, in[slot], tapes[slot], out[slot]);
      return x.put(s, out[slot]);
    };
    MINNOW_TRY(for_sequences(pool, sequences.size(), through));
    if (!tick()) return fail(Code::cancelled, "cancelled");
  }
  return x;
}

}  // namespace

Result<HeldOut> evaluate(const Network& net, const WeightSource& mine, const WeightSource& reference,
                         const Sequences& sequences, uint32_t skip, ThreadPool& pool, Spill& spill,
                         const StageProgress& progress) {
  uint64_t done = 0;
  const auto tick = [&] {
    return !progress || progress("held-out loss", ++done, mine.blocks + reference.blocks);
  };
  MINNOW_ASSIGN(const MatrixStore my_states, hidden_states(net, mine, sequences, pool, spill, tick));
  MINNOW_ASSIGN(const MatrixStore their_states, hidden_states(net, reference, sequences, pool, spill, tick));
  std::vector<HeldOut> parts(sequences.size());
  const ModelEnds &w = *mine.ends, &r0 = *reference.ends;
  const auto compare = [&](size_t s, uint32_t) -> Status {
    Matrix x, y, z, logits, other;
    const auto& ids = sequences[s];
    MINNOW_TRY(my_states.get(s, x));
    net.finish(x, w.final_norm, w.out, y);
    MINNOW_TRY(their_states.get(s, x));
    net.finish(x, r0.final_norm, r0.out, z);
    constexpr size_t kRows = 128;
    for (size_t t0 = skip - 1; t0 + 1 < ids.size(); t0 += kRows) {
      const size_t rows = std::min(kRows, ids.size() - 1 - t0);
      net.logits({y.row(t0), rows, y.cols(), y.cols()}, w.head_matrix(), w.head_bias, logits);
      net.logits({z.row(t0), rows, z.cols(), z.cols()}, r0.head_matrix(), r0.head_bias, other);
      for (size_t r = 0; r < rows; ++r) {
        const float* l = logits.row(r);
        const double total = log_sum_exp(l, logits.cols());
        parts[s].nll += total - l[ids[t0 + r + 1]];
        ++parts[s].tokens;
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
    return {};
  };
  MINNOW_TRY(for_sequences(pool, sequences.size(), compare));
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
