// Several sequences in lockstep, and text drawn from a model.
#include "compress/sample.h"

#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>
#include <numeric>

#include "base/cpu.h"
#include "compress/mlwq/float_math.h"
#include "exec/decoder.h"
#include "exec/float_gemm.h"
#include "support/expected.h"
#include "support/models.h"

namespace minnow::testing {
namespace {

using compress::SampleOptions;
using exec::Decoder;
using exec::DecoderOptions;
using ::testing::HasSubstr;

/// A model as the runtime has it.
struct Opened {
  TempDir dir;
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<format::Container> container;
  std::unique_ptr<model::Weights> weights;
  std::unique_ptr<model::Plan> plan;

  Opened(const std::string& source, compress::Storage storage, uint32_t threads = 1)
      : pool(std::move(ThreadPool::create(threads)).value()) {
    const std::string path = dir.file("m.mnw");
    compress(source, path, storage);
    container = std::make_unique<format::Container>(
        std::move(format::Container::open(std::move(MappedFile::open(path)).value())).value());
    weights = std::make_unique<model::Weights>(std::move(model::Weights::create(*container)).value());
    plan = std::make_unique<model::Plan>(
        std::move(model::Plan::create(*weights, detect_isa(), exec::float_gemm_available())).value());
  }
  Decoder decoder(uint32_t sequences, uint32_t context = 48) {
    DecoderOptions o;
    o.context = context, o.kv = kv::Type::f32, o.sequences = sequences, o.logit_rows = 2;
    return std::move(Decoder::create(*plan, *pool, o)).value();
  }
};

struct Rows : exec::LogitsSink {
  std::vector<std::vector<float>> rows;
  Status row(size_t index, std::span<const float> logits) override {
    EXPECT_EQ(index, rows.size());
    rows.emplace_back(logits.begin(), logits.end());
    return {};
  }
};

class LockstepOf : public ::testing::TestWithParam<std::string> {};

TEST_P(LockstepOf, SequencesGiveWhatEachGivesAlone) {
  const std::vector<int32_t> ids = read_expected(GetParam() + "/expected.safetensors").input_ids;
  Opened m(GetParam(), compress::Storage::f32, 2);
  constexpr uint32_t kSequences = 3;
  const size_t length = 24;  // beyond the fixtures' sliding windows
  const auto token = [&](size_t s, size_t t) { return ids[(s * 7 + t) % ids.size()]; };
  std::vector<Decoder> alone;
  for (uint32_t s = 0; s < kSequences; ++s) alone.push_back(m.decoder(1));
  Decoder together = m.decoder(kSequences);
  for (size_t t = 0; t < length; ++t) {
    std::vector<int32_t> tokens;
    for (size_t s = 0; s < kSequences; ++s) tokens.push_back(token(s, t));
    Rows got;
    ASSERT_TRUE(together.forward(tokens, &got).ok());
    ASSERT_EQ(together.position(), t + 1);
    ASSERT_EQ(got.rows.size(), kSequences);
    for (size_t s = 0; s < kSequences; ++s) {
      ASSERT_TRUE(alone[s].forward({&tokens[s], 1}).ok());
      const auto want = alone[s].logits();
      double square = 0.0, worst = 0.0;
      for (size_t i = 0; i < want.size(); ++i) {
        square += double{want[i]} * want[i];
        worst = std::max(worst, std::fabs(double{want[i]} - got.rows[s][i]));
      }
      ASSERT_LE(worst, 1e-4 * std::sqrt(square / static_cast<double>(want.size())) + 1e-5)
          << "sequence " << s << ", token " << t;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, LockstepOf, ::testing::ValuesIn(architecture_fixtures()), fixture_name);

const std::string kTiny = MINNOW_TEST_DATA "/arch/llama-tied-gqa";

TEST(Lockstep, EverySequenceTakesOneToken) {
  Opened m(kTiny, compress::Storage::w8);
  Decoder d = m.decoder(3, 2);
  const int32_t tokens[] = {1, 2, 3};
  const Status two = d.forward({tokens, 2});
  EXPECT_THAT(two.message(), HasSubstr("2 tokens were given for 3 sequences"));
  EXPECT_TRUE(d.forward(tokens).ok());
  EXPECT_TRUE(d.forward(tokens).ok());
  EXPECT_EQ(d.forward(tokens).code(), Code::context_full);
  d.rewind(0);
  EXPECT_TRUE(d.forward(tokens).ok());
  DecoderOptions none;
  none.context = 2, none.sequences = 0;
  EXPECT_EQ(Decoder::create(*m.plan, *m.pool, none).status().code(), Code::invalid_argument);
}

SampleOptions some(uint32_t count, uint32_t length, uint64_t seed) {
  SampleOptions o;
  o.count = count, o.length = length, o.seed = seed;
  return o;
}

TEST(Sample, TheSameSeedGivesTheSameText) {
  Opened m(kTiny, compress::Storage::w8);
  const auto draw = [&](const SampleOptions& o) {
    return std::move(sample_sequences(*m.plan, 1, o, *m.pool)).value();
  };
  const auto a = draw(some(3, 40, 5));
  ASSERT_EQ(a.size(), 3u);
  for (const auto& s : a) {
    ASSERT_EQ(s.size(), 40u);
    EXPECT_EQ(s[0], 1);
  }
  EXPECT_NE(a[0], a[1]);
  EXPECT_EQ(draw(some(3, 40, 5)), a);
  EXPECT_NE(draw(some(3, 40, 6)), a);
  SampleOptions cancelled = some(3, 40, 5);
  cancelled.progress = [](uint64_t, uint64_t) { return false; };
  EXPECT_EQ(sample_sequences(*m.plan, 1, cancelled, *m.pool).status().code(), Code::cancelled);
}

TEST(Sample, TokensComeAsOftenAsTheModelSays) {
  Opened m(kTiny, compress::Storage::w8);
  constexpr uint32_t kDraws = 4000;
  const auto drawn = std::move(sample_sequences(*m.plan, 1, some(kDraws, 2, 3), *m.pool)).value();
  Decoder d = m.decoder(1);
  const int32_t bos = 1;
  ASSERT_TRUE(d.forward({&bos, 1}).ok());
  std::vector<float> p(d.logits().begin(), d.logits().end());
  compress::softmax_in_place(p.data(), p.size());
  std::vector<uint32_t> count(p.size());
  for (const auto& s : drawn) ++count[static_cast<size_t>(s[1])];
  for (size_t i = 0; i < p.size(); ++i) {
    const double wanted = double{p[i]} * kDraws;
    EXPECT_NEAR(count[i], wanted, 5.0 * std::sqrt(wanted) + 5.0) << "token " << i;
  }
}

TEST(Sample, FromFloatsLeavesNoFile) {
  const TempDir dir;
  const auto model = compress::import_model(kTiny);
  ASSERT_TRUE(model.ok());
  const auto pool = std::move(ThreadPool::create(1)).value();
  const auto drawn = sample_sequences(*model, some(2, 30, 1), dir.file("x.sample"), *pool);
  ASSERT_TRUE(drawn.ok()) << drawn.status().message();
  EXPECT_EQ(drawn->size(), 2u);
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
  EXPECT_FALSE(sample_sequences(*model, some(2, 30, 1), dir.file("none/x.sample"), *pool).ok());
}

}  // namespace
}  // namespace minnow::testing
