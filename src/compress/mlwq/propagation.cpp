#include "compress/mlwq/propagation.h"

#include <algorithm>

namespace minnow::compress {

Result<Propagation> Propagation::start(const Network& net, const ModelEnds& ends, const Sequences& sequences,
                                       ThreadPool& pool, Spill& spill) {
  Propagation p(net, pool);
  const size_t count = sequences.size();
  p.tapes_.resize(pool.threads());
  p.in_.resize(pool.threads());
  p.out_.resize(pool.threads());
  MINNOW_ASSIGN(p.x_, MatrixStore::create(count, size_t{net.tokens()} * net.config().hidden_size, spill));
  MINNOW_TRY(for_sequences(pool, count, [&](size_t s, uint32_t slot) {
    net.embed(sequences[s], ends.embedding, ends.in, p.out_[slot]);
    return p.x_.put(s, p.out_[slot]);
  }));
  return p;
}

Status Propagation::gather(const BlockWeights& w, std::span<const Role> roles, const TokenWeights* weights,
                           std::array<Moments, kRoles>& moments) {
  if (roles.empty()) return {};
  const size_t round = tapes_.size(), count = x_.count();
  for (size_t first = 0; first < count; first += round) {
    const size_t n = std::min(round, count - first);
    MINNOW_TRY(for_sequences(pool_, n, [&](size_t i, uint32_t) -> Status {
      MINNOW_TRY(x_.get(first + i, in_[i]));
      net_.forward(w, in_[i], tapes_[i], out_[i]);
      return {};
    }));
    for (size_t i = 0; i < n; ++i) {
      for (Role r : roles) {
        const auto role = static_cast<size_t>(r);
        const bool weighed =
            weights != nullptr && first + i < weights->size() && !(*weights)[first + i][role].empty();
        add_moments(moments[role], tapes_[i].input(r), weighed ? (*weights)[first + i][role].data() : nullptr,
                    pool_);
      }
    }
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
