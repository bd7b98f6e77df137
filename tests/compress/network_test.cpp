// The float network of calibration: its logits against the reference implementations', its gradients
// against differences of its own loss.
#include "compress/mlwq/network.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <random>

#include "base/cpu.h"
#include "compress/mlwq/propagation.h"
#include "support/environment.h"
#include "support/expected.h"

namespace minnow::testing {
namespace {

using namespace compress;

struct Loaded {
  ImportedModel model;
  std::unique_ptr<ThreadPool> pool;
  std::vector<BlockWeights> blocks;
  Matrix embedding, head, in, out;
  NormParameters final_norm;
};

Loaded load(const std::string& path) {
  Loaded l;
  auto imported = import_model(path);
  EXPECT_TRUE(imported.ok()) << imported.status().message();
  l.model = std::move(*imported);
  auto pool = ThreadPool::create(2);
  l.pool = std::move(pool).value();
  for (const ImportedLayer& layer : l.model.layers) l.blocks.push_back(*read_block(layer, *l.pool));
  l.embedding = *read_matrix(l.model.embedding.weight, *l.pool);
  l.head = l.model.head.present() ? *read_matrix(l.model.head.weight, *l.pool) : l.embedding;
  if (l.model.embedding_in.present()) l.in = *read_matrix(l.model.embedding_in.weight, *l.pool);
  if (l.model.embedding_out.present()) l.out = *read_matrix(l.model.embedding_out.weight, *l.pool);
  l.final_norm = {l.model.final_norm.weight, l.model.final_norm.bias};
  return l;
}

struct Pass {
  std::vector<Matrix> x;  // at the input of every block, and behind the last
  std::vector<Tape> tapes;
  Matrix finished, logits;
};

Pass run(const Network& net, const Loaded& l, const std::vector<int32_t>& ids) {
  Pass p;
  p.x.resize(l.blocks.size() + 1);
  p.tapes.resize(l.blocks.size());
  net.embed(ids, l.embedding, l.in, p.x[0]);
  for (size_t b = 0; b < l.blocks.size(); ++b) net.forward(l.blocks[b], p.x[b], p.tapes[b], p.x[b + 1]);
  net.finish(p.x.back(), l.final_norm, l.out, p.finished);
  net.logits(rows_of(p.finished), l.head, l.model.head.present() ? l.model.head.bias : l.model.embedding.bias,
             p.logits);
  return p;
}

class NetworkOf : public ::testing::TestWithParam<std::string> {};

TEST_P(NetworkOf, LogitsMatchTheReference) {
  const Expected expected = read_expected(GetParam() + "/expected.safetensors");
  const Loaded l = load(GetParam());
  const auto kernels = model::select_kernels(detect_isa());
  const Network net(l.model, kernels, static_cast<uint32_t>(expected.input_ids.size()));
  const Pass p = run(net, l, expected.input_ids);
  ASSERT_EQ(p.logits.size(), expected.logits.size());
  double worst = 0.0, square = 0.0;
  for (size_t i = 0; i < p.logits.size(); ++i) {
    worst = std::max(worst, std::fabs(double{p.logits.data()[i]} - expected.logits[i]));
    square += std::pow(expected.logits[i], 2.0);
  }
  EXPECT_LT(worst, 2e-4 * std::sqrt(square / static_cast<double>(p.logits.size())) + 2e-5);
}

/// Taken through blocks step by step, with nothing quantised, sequences show every linear what a whole pass
/// shows it, and nothing has drifted.
TEST_P(NetworkOf, StepsSeeWhatAWholePassSees) {
  const Expected expected = read_expected(GetParam() + "/expected.safetensors");
  const Loaded l = load(GetParam());
  const auto kernels = model::select_kernels(detect_isa());
  const Network net(l.model, kernels, static_cast<uint32_t>(expected.input_ids.size()));
  const std::vector<int32_t> backwards(expected.input_ids.rbegin(), expected.input_ids.rend());
  const Sequences sequences = {expected.input_ids, backwards, expected.input_ids};
  const ModelEnds ends = *read_ends(l.model, *l.pool);
  Spill spill("", uint64_t{1} << 30);
  Propagation p =
      std::move(Propagation::start(net, ends, &ends.embedding, sequences, 2, *l.pool, spill)).value();
  std::vector<Pass> whole;
  for (const auto& ids : sequences) whole.push_back(run(net, l, ids));
  for (size_t b = 0; b < l.blocks.size(); ++b) {
    for (const Step step : kSteps) {
      std::vector<Role> roles;
      for (const Role r : kAllRoles) {
        if (step_of(r) == step && !l.blocks[b][r].empty()) roles.push_back(r);
      }
      auto gathered = p.gather(step, l.blocks[b], l.blocks[b], roles, nullptr);
      ASSERT_TRUE(gathered.ok());
      const Propagation::Seen seen = std::move(gathered).value();
      const auto same = [&](const Moments& got, std::initializer_list<size_t> passes, Role r) {
        Moments want;
        for (const size_t i : passes) add_moments(want, whole[i].tapes[b].input(r), nullptr, *l.pool);
        ASSERT_EQ(got.second.size(), want.second.size());
        ASSERT_EQ(got.weight, want.weight);
        for (size_t i = 0; i < want.second.size(); ++i)
          ASSERT_EQ(got.second.data()[i], want.second.data()[i]) << name_of(r) << " of block " << b;
      };
      for (const Role r : roles) {
        const auto role = static_cast<size_t>(r);
        same(seen.followed[role], {0, 1}, r);
        same(seen.others, {2}, r);
        for (const float v : seen.drift[role].inputs.span()) ASSERT_EQ(v, 0.0f);
        for (const float v : seen.drift[role].residual.span()) ASSERT_EQ(v, 0.0f);
      }
    }
    ASSERT_TRUE(p.leave(l.blocks[b], l.blocks[b]).ok());
  }
}

/// sum of logits times fixed random numbers: a loss whose gradient at the logits is those numbers.
double loss_of(const Matrix& logits, const Matrix& direction) {
  double sum = 0.0;
  for (size_t i = 0; i < logits.size(); ++i) sum += double{logits.data()[i]} * direction.data()[i];
  return sum;
}

TEST_P(NetworkOf, GradientsMatchDifferences) {
  const Expected expected = read_expected(GetParam() + "/expected.safetensors");
  Loaded l = load(GetParam());
  const auto kernels = model::select_kernels(detect_isa());
  const Network net(l.model, kernels, static_cast<uint32_t>(expected.input_ids.size()));
  Pass p = run(net, l, expected.input_ids);
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  Matrix direction(p.logits.rows(), p.logits.cols());
  for (float& v : direction.span()) v = normal(random);

  Matrix dlogits = direction, dfinished, dx, dnext;
  net.logits_backward(p.logits, dlogits);
  dfinished.shape(p.finished.rows(), p.finished.cols());
  multiply_nn(rows_of(dlogits), rows_of(l.head), dfinished.data(), dfinished.cols());
  net.finish_backward(p.x.back(), l.final_norm, l.out, dfinished, dx);
  for (size_t b = l.blocks.size(); b-- > 0;) {
    Tape tape;
    net.record(l.blocks[b], p.x[b], tape);
    net.backward(l.blocks[b], p.x[b], tape, dx, dnext);
    p.tapes[b] = std::move(tape);
    std::swap(dx, dnext);
  }
  const auto check = [&](float* values, const float* gradient, size_t n, const std::string& what) {
    std::vector<float> step(n), kept(values, values + n);
    double size = 0.0, slope = 0.0;
    for (size_t i = 0; i < n; ++i) size += std::pow(kept[i], 2.0);
    const double epsilon = 2e-3 * std::sqrt(size / static_cast<double>(n)) + 1e-6;
    for (size_t i = 0; i < n; ++i) {
      // Along the gradient's own sign, so that the difference is far above rounding.
      step[i] = static_cast<float>(epsilon) * (gradient[i] > 0.0f ? 1.0f : -1.0f);
      slope += double{gradient[i]} * step[i];
    }
    double loss[2] = {};
    for (int side = 0; side < 2; ++side) {
      for (size_t i = 0; i < n; ++i) values[i] = kept[i] + (side == 0 ? -step[i] : step[i]);
      loss[side] = loss_of(run(net, l, expected.input_ids).logits, direction);
    }
    std::copy(kept.begin(), kept.end(), values);
    EXPECT_NEAR((loss[1] - loss[0]) / 2.0, slope, 0.03 * std::fabs(slope) + 1e-3) << what;
  };
  for (size_t b : {size_t{0}, l.blocks.size() - 1}) {
    for (Role r : kAllRoles) {
      Matrix& w = l.blocks[b][r];
      if (w.empty()) continue;
      Matrix gradient(w.rows(), w.cols());
      multiply_tn(rows_of(p.tapes[b].dy[static_cast<size_t>(r)]), rows_of(p.tapes[b].input(r)),
                  gradient.data(), gradient.cols());
      check(w.data(), gradient.data(), w.size(), cat("block ", b, " ", name_of(r)));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, NetworkOf, ::testing::ValuesIn(architecture_fixtures()), fixture_name);

}  // namespace
}  // namespace minnow::testing
