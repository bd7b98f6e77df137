#include "compress/mlwq/propagation.h"

#include <algorithm>

namespace minnow::compress {

Result<Propagation> Propagation::start(const Network& net, const ModelEnds& ends, const Matrix* floats,
                                       const Sequences& sequences, ThreadPool& pool, Spill& spill) {
  Propagation p(net, pool);
  const size_t count = sequences.size(), values = size_t{net.tokens()} * net.config().hidden_size;
  for (auto* tapes : {&p.tapes_, &p.float_tapes_}) tapes->resize(pool.threads());
  for (auto* states : {&p.in_, &p.float_in_, &p.out_}) states->resize(pool.threads());
  MINNOW_ASSIGN(p.x_, MatrixStore::create(count, values, spill));
  if (floats != nullptr) {
    MINNOW_ASSIGN(p.floats_, MatrixStore::create(count, values, spill));
  }
  const auto embed = [&](size_t s, uint32_t slot) -> Status {
    Matrix& x = p.out_[slot];
    if (floats != nullptr) {
      net.embed(sequences[s], *floats, ends.in, x);
      MINNOW_TRY(p.floats_.put(s, x));
    }
    net.embed(sequences[s], ends.embedding, ends.in, x);
    return p.x_.put(s, x);
  };
  MINNOW_TRY(for_sequences(pool, count, embed));
  return p;
}

void Propagation::add(const BlockWeights& w, Role r, size_t slot, const float* weights, Moments& m,
                      Drift& d) {
  const Tape &tape = tapes_[slot], &floats = float_tapes_[slot];
  const Matrix& x = tape.input(r);
  add_moments(m, x, weights, pool_);
  if (!drifts()) return;
  add_drift(d.inputs, floats.input(r), x, x, weights, pool_);
  // A norm of the branch would come between its output and the residual.
  if (r == Role::o && !w.attn_post_norm.present())
    add_drift(d.residual, float_in_[slot], in_[slot], x, weights, pool_);
  if (r == Role::down && !w.ffn_post_norm.present())
    add_drift(d.residual, floats.mid, tape.mid, x, weights, pool_);
}

Status Propagation::gather(const BlockWeights& w, std::span<const Role> roles, const TokenWeights* weights,
                           std::array<Moments, kRoles>& moments, std::array<Drift, kRoles>& drift) {
  if (roles.empty() && !drifts()) return {};
  const size_t round = tapes_.size(), count = x_.count();
  for (size_t first = 0; first < count; first += round) {
    const size_t n = std::min(round, count - first);
    const auto forward = [&](size_t i, uint32_t) -> Status {
      if (drifts()) {
        MINNOW_TRY(floats_.get(first + i, float_in_[i]));
        net_.forward(w, float_in_[i], float_tapes_[i], out_[i]);
        MINNOW_TRY(floats_.put(first + i, out_[i]));
      }
      if (roles.empty()) return {};
      MINNOW_TRY(x_.get(first + i, in_[i]));
      net_.forward(w, in_[i], tapes_[i], out_[i]);
      return {};
    };
    MINNOW_TRY(for_sequences(pool_, n, forward));
    for (size_t i = 0; i < n; ++i) {
      for (Role r : roles) {
        const auto role = static_cast<size_t>(r);
        const bool weighed =
            weights != nullptr && first + i < weights->size() && !(*weights)[first + i][role].empty();
        add(w, r, i, weighed ? (*weights)[first + i][role].data() : nullptr, moments[role], drift[role]);
      }
    }
  }
  for (Drift& d : drift) {  // a linear's output reaches the residual by this scale
    for (float& v : d.residual.span()) v /= net_.config().residual_scale;
  }
  return {};
}

Status Propagation::advance(const BlockWeights& w) {
  return for_sequences(pool_, x_.count(), [&](size_t s, uint32_t slot) -> Status {
    MINNOW_TRY(x_.get(s, in_[slot]));
    net_.forward(w, in_[slot], tapes_[slot], out_[slot]);
    return x_.put(s, out_[slot]);
  });
}

}  // namespace minnow::compress
