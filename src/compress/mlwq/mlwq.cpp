#include "compress/mlwq/mlwq.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "base/cpu.h"
#include "compress/mlwq/sensitivity.h"

namespace minnow::compress {
namespace {

using Order = std::vector<uint32_t>;

Order natural(size_t n) {
  Order o(n);
  std::iota(o.begin(), o.end(), 0u);
  return o;
}

Matrix permuted(const Matrix& w, const Order& order) {
  Matrix out(w.rows(), w.cols());
  for (size_t r = 0; r < w.rows(); ++r) {
    for (size_t c = 0; c < w.cols(); ++c) out.row(r)[c] = w.row(r)[order[c]];
  }
  return out;
}

void unpermute(const Matrix& values, const Order& order, Matrix& w) {
  for (size_t r = 0; r < w.rows(); ++r) {
    for (size_t c = 0; c < w.cols(); ++c) w.row(r)[order[c]] = values.row(r)[c];
  }
}

/// Adds sum_i G_i w_ik^2 / [H^-1]_kk^2 to each channel's salience (MLWQ, equation 5, rows weighed).
void add_salience(const Matrix& w, const std::vector<double>& rows, const Factor& f, double scale,
                  std::vector<double>& out) {
  out.resize(w.cols(), 0.0);
  for (size_t r = 0; r < w.rows(); ++r) {
    for (size_t c = 0; c < w.cols(); ++c) {
      const double d = double{w.row(r)[c]} / f.inverse[c];
      out[c] += scale * rows[r] * d * d;
    }
  }
}

Order descending(const std::vector<double>& salience) {
  Order o = natural(salience.size());
  std::stable_sort(o.begin(), o.end(), [&](uint32_t a, uint32_t b) { return salience[a] > salience[b]; });
  return o;
}

struct Prepared {
  Order order;
  Matrix h;
  Factor factor;
};

class Pipeline {
 public:
  Pipeline(const ImportedModel& model, const MlwqOptions& options, ThreadPool& pool)
      : model_(model), o_(options), pool_(pool), kernels_(model::select_kernels(detect_isa())) {}

  Result<QuantisedModel> run() {
    const uint32_t length = std::min(o_.length, model_.config.max_context);
    MINNOW_ASSIGN(sequences_, sequences_from_text(model_, o_.calibration, length, o_.sequences));
    Network net(model_, kernels_, length);
    MINNOW_ASSIGN(float_, read_weights(model_, pool_));
    Sequences few;
    for (size_t i = 0; i < std::min<size_t>(o_.sensitivity_sequences, sequences_.size()); ++i)
      few.push_back(
          sequences_[i * sequences_.size() / std::min<size_t>(o_.sensitivity_sequences, sequences_.size())]);
    // Token weights are known only where gradients were taken.
    if (o_.weighted_tokens && o_.propagate) few = sequences_;
    log("sensitivity");
    MINNOW_ASSIGN(sensitivity_, measure_sensitivity(net, float_, few, o_.seed, pool_, o_.progress));
    log(cat("float nll on calibration ", sensitivity_.nll));
    orders();
    MINNOW_TRY(choose());
    MINNOW_TRY(quantise(net));
    if (!o_.held_out.empty()) {
      MINNOW_ASSIGN(const Sequences held, sequences_from_text(model_, o_.held_out, length, 1u << 20));
      out_.after = evaluate(net, out_.values, held, length / 2 + 1, &float_, pool_);
      out_.before = evaluate(net, float_, held, length / 2 + 1, nullptr, pool_);
      log(cat("held-out nll ", out_.before.nll, " -> ", out_.after.nll, " (+",
              out_.after.nll - out_.before.nll, ") kld ", out_.after.kld));
    }
    return std::move(out_);
  }

 private:
  void log(const std::string& s) const {
    if (o_.log) o_.log(s);
  }

  /// Every linear's input order. One for the hidden state, shared by all that read it; one a block for the
  /// feed-forward neurons; one a block for the attention's output.
  void orders() {
    std::vector<double> hidden(model_.config.hidden_size, 0.0);
    ffn_.resize(float_.blocks.size());
    attn_.resize(float_.blocks.size());
    for (size_t b = 0; b < float_.blocks.size(); ++b) {
      for (Role r : kAllRoles) {
        const Matrix& w = float_.blocks[b][r];
        if (w.empty()) continue;
        const LinearSensitivity& s = sensitivity_.blocks[b].linear[static_cast<size_t>(r)];
        auto h = damped(s.moments, natural(w.cols()), o_.damping);
        auto f = factor_inverse(*h, pool_);
        const double scale = s.moments.weight / s.tokens;
        std::vector<double> own;
        std::vector<double>& target = r == Role::o || r == Role::down ? own : hidden;
        add_salience(w, s.row_weights, *f, scale, target);
        if (r == Role::o) attn_[b] = descending(own);
        if (r == Role::down) ffn_[b] = descending(own);
      }
    }
    hidden_ = descending(hidden);
  }

  const Order& order_of(size_t block, Role r) const {
    return r == Role::o ? attn_[block] : r == Role::down ? ffn_[block] : hidden_;
  }

  Result<Prepared> prepare(const Moments& m, const Order& order) {
    Prepared p{order, {}, {}};
    MINNOW_ASSIGN(p.h, damped(m, order, o_.damping));
    MINNOW_ASSIGN(p.factor, factor_inverse(p.h, pool_));
    return p;
  }

  GptqOptions gptq(uint32_t descents) const {
    GptqOptions g;
    g.clip = o_.clip;
    g.compensate = o_.method != Method::rtn;
    g.descents = g.compensate ? descents : 0;
    return g;
  }

  Status add_linear(const Matrix& w, const LinearSensitivity& s, const Order& order) {
    MINNOW_ASSIGN(const Prepared p, prepare(s.moments, order));
    const Matrix wp = permuted(w, order);
    std::vector<Candidate> list;
    for (const Scheme& scheme : candidate_schemes(static_cast<uint32_t>(w.cols()), o_.space)) {
      const GptqResult r = quantise_linear(wp, p.h, p.factor, groups_of(scheme), gptq(0), pool_);
      const std::vector<double> errors = row_errors(wp, r.values, p.h, pool_);
      double loss = 0.0;
      for (size_t i = 0; i < errors.size(); ++i) loss += errors[i] * s.row_weights[i];
      list.push_back({scheme, bytes_of(scheme, w.rows()), 0.5 * loss * s.moments.weight / s.tokens});
    }
    candidates_.push_back(std::move(list));
    return {};
  }

  /// Tied or not, the embedding's own error: E[g_k^2] over the tokens that look a row up.
  LinearSensitivity embedding_sensitivity(bool tied) const {
    LinearSensitivity s;
    const size_t cols = float_.embedding.cols();
    const auto vocab = static_cast<double>(float_.embedding.rows());
    if (tied) {
      s = sensitivity_.head;
    } else {
      s.moments.second.reset(cols, cols);
      s.moments.weight = s.tokens = 1.0;
      s.row_weights.assign(float_.embedding.rows(), 1.0);
    }
    for (size_t c = 0; c < cols; ++c)
      s.moments.second.row(c)[c] += static_cast<float>(sensitivity_.embedding_channels[c] * s.tokens / vocab);
    if (!tied) {
      for (size_t v = 0; v < s.row_weights.size(); ++v)
        s.row_weights[v] = sensitivity_.token_share[v] * vocab;
      for (size_t c = 0; c < cols; ++c) s.moments.weight = 1.0;
    }
    return s;
  }

  Status choose() {
    log("candidates");
    for (size_t b = 0; b < float_.blocks.size(); ++b) {
      for (Role r : kAllRoles) {
        const Matrix& w = float_.blocks[b][r];
        if (w.empty()) continue;
        MINNOW_TRY(add_linear(w, sensitivity_.blocks[b].linear[static_cast<size_t>(r)], order_of(b, r)));
      }
    }
    const bool tied = float_.head.empty();
    embedding_ = embedding_sensitivity(tied);
    const Order ends = float_.in.empty() ? hidden_ : natural(float_.embedding.cols());
    MINNOW_TRY(add_linear(float_.embedding, embedding_, ends));
    if (!tied) MINNOW_TRY(add_linear(float_.head, sensitivity_.head, ends));
    const double budget =
        o_.bits * static_cast<double>(model_.parameters) / 8.0 - static_cast<double>(o_.fixed_bytes);
    MINNOW_ASSIGN(chosen_, allocate(candidates_, static_cast<uint64_t>(std::max(budget, 0.0))));
    uint64_t bytes = o_.fixed_bytes;
    double loss = 0.0;
    std::string all;
    for (size_t l = 0; l < candidates_.size(); ++l) {
      bytes += candidates_[l][chosen_[l]].bytes;
      loss += candidates_[l][chosen_[l]].loss;
      all += cat(l % kRoles == 0 ? "\n" : "  ", candidates_[l][chosen_[l]].scheme.text());
    }
    log(cat("allocated ", bytes, " bytes, ",
            static_cast<double>(bytes) * 8.0 / static_cast<double>(model_.parameters), " bits, predicted +",
            loss, all));
    return {};
  }

  Status quantise_one(const Matrix& w, const Moments& m, const Order& order, const Scheme& scheme,
                      QuantisedLinear& q, Matrix& values) {
    MINNOW_ASSIGN(const Prepared p, prepare(m, order));
    const GptqResult r =
        quantise_linear(permuted(w, order), p.h, p.factor, groups_of(scheme), gptq(o_.descents), pool_);
    values.reset(w.rows(), w.cols());
    unpermute(r.values, order, values);
    (void)q;
    return {};
  }

  Status quantise(const Network& net) {
    log("quantise");
    out_.values = float_;
    out_.blocks.resize(float_.blocks.size());
    size_t index = float_.blocks.size() * kRoles;
    if (float_.blocks[0][Role::gate].empty()) index = float_.blocks.size() * (kRoles - 1);
    const bool tied = float_.head.empty();
    const Order ends = float_.in.empty() ? hidden_ : natural(float_.embedding.cols());
    MINNOW_TRY(quantise_one(float_.embedding, embedding_.moments, ends,
                            candidates_[index][chosen_[index]].scheme, out_.embedding,
                            out_.values.embedding));
    std::vector<Matrix> x(sequences_.size());
    pool_.parallel_for(sequences_.size(), 1, [&](size_t b, size_t e, uint32_t) {
      for (size_t s = b; s < e; ++s) net.embed(sequences_[s], out_.values.embedding, out_.values.in, x[s]);
    });
    size_t l = 0;
    const size_t round = pool_.threads();
    std::vector<Tape> tapes(round);
    for (size_t b = 0; b < float_.blocks.size(); ++b) {
      std::array<Moments, kRoles> moments;
      if (o_.propagate) {
        for (size_t first = 0; first < x.size(); first += round) {
          const size_t n = std::min(round, x.size() - first);
          MINNOW_TRY(for_sequences(pool_, n, [&](size_t i, uint32_t) {
            Matrix unused;
            net.forward(float_.blocks[b], x[first + i], tapes[i], unused);
          }));
          for (size_t i = 0; i < n; ++i) {
            for (Role r : kAllRoles) {
              if (float_.blocks[b][r].empty()) continue;
              const auto role = static_cast<size_t>(r);
              const bool shared = !o_.weighted_tokens && (r == Role::k || r == Role::v || r == Role::up);
              if (shared && !(r == Role::up && float_.blocks[b][Role::gate].empty())) continue;
              add_moments(
                  moments[role], tapes[i].input(r),
                  o_.weighted_tokens ? sensitivity_.token_weights[first + i][b][role].data() : nullptr,
                  pool_);
            }
          }
        }
      }
      for (Role r : kAllRoles) {
        const Matrix& w = float_.blocks[b][r];
        if (w.empty()) continue;
        const auto role = static_cast<size_t>(r);
        const Moments* m = &sensitivity_.blocks[b].linear[role].moments;
        if (o_.propagate) {
          m = &moments[role];
          if (m->empty()) m = &moments[static_cast<size_t>(r == Role::up ? Role::gate : Role::q)];
        }
        MINNOW_TRY(quantise_one(w, *m, order_of(b, r), candidates_[l][chosen_[l]].scheme,
                                out_.blocks[b][role], out_.values.blocks[b][r]));
        ++l;
      }
      pool_.parallel_for(x.size(), 1, [&](size_t s0, size_t s1, uint32_t slot) {
        Matrix next;
        for (size_t s = s0; s < s1; ++s) {
          net.forward(out_.values.blocks[b], x[s], tapes[slot], next);
          std::swap(x[s], next);
        }
      });
      if (o_.progress && !o_.progress("quantise", b + 1, float_.blocks.size()))
        return fail(Code::cancelled, "cancelled");
    }
    if (!tied)
      MINNOW_TRY(quantise_one(float_.head, sensitivity_.head.moments, ends,
                              candidates_[index + 1][chosen_[index + 1]].scheme, out_.head,
                              out_.values.head));
    return {};
  }

  const ImportedModel& model_;
  const MlwqOptions& o_;
  ThreadPool& pool_;
  model::KernelSet kernels_;
  Sequences sequences_;
  ModelWeights float_;
  Sensitivity sensitivity_;
  LinearSensitivity embedding_;
  Order hidden_;
  std::vector<Order> ffn_, attn_;
  std::vector<std::vector<Candidate>> candidates_;
  std::vector<size_t> chosen_;
  QuantisedModel out_;
};

}  // namespace

Result<QuantisedModel> quantise_model(const ImportedModel& model, const MlwqOptions& options) {
  MINNOW_ASSIGN(const std::unique_ptr<ThreadPool> pool, ThreadPool::create(options.threads));
  return Pipeline(model, options, *pool).run();
}

}  // namespace minnow::compress
