#include "compress/mlwq/propagation.h"

#include <algorithm>

namespace minnow::compress {

Result<Propagation> Propagation::start(const Network& net, const ModelEnds& ends, const Matrix* floats,
                                       SequenceSpan sequences, size_t drifting, ThreadPool& pool,
                                       Spill& spill) {
  Propagation p(net, pool);
  const format::Config& c = net.config();
  const size_t tokens = net.tokens();
  const size_t widest = std::max({size_t{c.hidden_size}, size_t{c.q_size()}, size_t{c.ffn_size}});
  const auto begin = [&](Stream& s, const Matrix& embedding, size_t count) -> Status {
    s.tapes.resize(pool.threads()), s.in.resize(pool.threads()), s.out.resize(pool.threads());
    MINNOW_ASSIGN(s.x, MatrixStore::create(count, tokens * c.hidden_size, spill));
    MINNOW_ASSIGN(s.side, MatrixStore::create(count, tokens * widest, spill));
    return for_sequences(pool, count, [&](size_t i, uint32_t slot) {
      net.embed(sequences[i], embedding, ends.in, s.out[slot]);
      return s.x.put(i, s.out[slot]);
    });
  };
  MINNOW_TRY(begin(p.quantised_, ends.embedding, sequences.size()));
  if (floats != nullptr) MINNOW_TRY(begin(p.floats_, *floats, std::min(drifting, sequences.size())));
  return p;
}

Status Propagation::arrive(Step step, const BlockWeights& w, Stream& s, size_t sequence, size_t slot) const {
  Tape& t = s.tapes[slot];
  Matrix& x = s.in[slot];
  MINNOW_TRY(s.x.get(sequence, x));
  switch (step) {
    case Step::attention_in:
      net_.attention_input(w, x, t);
      return {};
    case Step::attention_out:
      net_.attention_input(w, x, t);
      net_.attend(w, t);
      return s.side.put(sequence, t.attn);
    case Step::ffn_in:
      net_.attention_input(w, x, t);  // parallel blocks feed it to both branches
      MINNOW_TRY(s.side.get(sequence, t.attn));
      net_.feed_forward_input(w, x, t);
      MINNOW_TRY(s.x.put(sequence, t.mid));
      return s.side.put(sequence, t.ffn_in);
    case Step::ffn_out:
      break;
  }
  std::swap(t.mid, x);
  MINNOW_TRY(s.side.get(sequence, t.ffn_in));
  net_.feed_forward(w, t);
  return s.side.put(sequence, t.inner);
}

Status Propagation::leave(const BlockWeights& w, Stream& s, size_t sequence, size_t slot) const {
  Tape& t = s.tapes[slot];
  MINNOW_TRY(s.x.get(sequence, t.mid));
  MINNOW_TRY(s.side.get(sequence, t.inner));
  net_.close(w, t, s.out[slot]);
  return s.x.put(sequence, s.out[slot]);
}

void Propagation::add_drifts(const BlockWeights& w, Role r, size_t slot, const float* weights, Drift& d) {
  const Tape &tape = quantised_.tapes[slot], &floats = floats_.tapes[slot];
  const Matrix& x = tape.input(r);
  add_drift(d.inputs, floats.input(r), x, x, weights, pool_);
  // A norm of the branch would come between its output and the residual.
  if (r == Role::o && !w.attn_post_norm.present())
    add_drift(d.residual, floats_.in[slot], quantised_.in[slot], x, weights, pool_);
  if (r == Role::down && !w.ffn_post_norm.present())
    add_drift(d.residual, floats.mid, tape.mid, x, weights, pool_);
  for (size_t t = 0; t < x.rows(); ++t) d.weight += weights != nullptr ? weights[t] : 1.0f;
}

Result<Propagation::Seen> Propagation::gather(Step step, const BlockWeights& w, const BlockWeights& floats,
                                              std::span<const Role> roles, const TokenWeights* weights) {
  const size_t round = quantised_.tapes.size(), count = quantised_.x.count();
  const size_t weighed = weights != nullptr ? weights->size() : 0;
  Seen seen;
  for (size_t first = 0; first < count; first += round) {
    const size_t n = std::min(round, count - first);
    const auto both = [&](size_t i, uint32_t) -> Status {
      if (drifts(first + i)) MINNOW_TRY(arrive(step, floats, floats_, first + i, i));
      return arrive(step, w, quantised_, first + i, i);
    };
    MINNOW_TRY(for_sequences(pool_, n, both));
    for (size_t i = 0; i < n && !roles.empty(); ++i) {
      const size_t s = first + i;
      const Matrix& x = quantised_.tapes[i].input(roles.front());
      if (s >= weighed && !drifts(s)) {
        add_moments(seen.others, x, nullptr, pool_);
        continue;
      }
      for (Role r : roles) {
        const auto role = static_cast<size_t>(r);
        const float* const own = s < weighed ? (*weights)[s][role].data() : nullptr;
        add_moments(seen.followed[role], x, own, pool_);
        if (drifts(s)) add_drifts(w, r, i, own, seen.drift[role]);
      }
    }
  }
  release(quantised_.tapes);  // what the caller does next needs the room
  release(floats_.tapes);
  for (Drift& d : seen.drift) {  // a linear's output reaches the residual by this scale
    for (float& v : d.residual.span()) v /= net_.config().residual_scale;
  }
  return seen;
}

Status Propagation::leave(const BlockWeights& w, const BlockWeights& floats) {
  return for_sequences(pool_, quantised_.x.count(), [&](size_t s, uint32_t slot) -> Status {
    if (drifts(s)) MINNOW_TRY(leave(floats, floats_, s, slot));
    return leave(w, quantised_, s, slot);
  });
}

}  // namespace minnow::compress
