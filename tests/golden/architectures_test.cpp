// Every architecture against logits computed by its reference implementation in float32.
#include <gmock/gmock.h>

#include <cmath>

#include "support/expected.h"
#include "support/models.h"

namespace minnow::testing {
namespace {

double deviation(const std::vector<float>& v) {
  double mean = 0.0, square = 0.0;
  for (float x : v) mean += x;
  mean /= static_cast<double>(v.size());
  for (float x : v) square += (x - mean) * (x - mean);
  return std::sqrt(square / static_cast<double>(v.size()));
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return INFINITY;
  double largest = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = std::fabs(double{a[i]} - double{b[i]});
    largest = d <= largest ? largest : d;  // a NaN becomes the largest
  }
  return largest;
}

class Architecture : public ::testing::TestWithParam<std::string> {};

TEST_P(Architecture, FloatLogitsAndGreedyTokensMatch) {
  const Expected expected = read_expected(GetParam() + "/expected.safetensors");
  ASSERT_EQ(expected.input_ids.size(), 48u);
  ASSERT_FALSE(expected.greedy.empty());
  const TempDir dir;
  const std::string path = dir.file("model.mnw");
  compress(GetParam(), path, compress::Storage::source16);
  const Engine engine = make_engine();
  const Model model = load_model(engine, path);
  ASSERT_NE(model, nullptr);
  const double bound = 0.002 * deviation(expected.logits);
  for (size_t chunk : {size_t{48}, size_t{1}, size_t{5}, size_t{16}}) {
    const Session session = make_session(model, 64);
    EXPECT_LE(largest_difference(all_logits(session, expected.input_ids, chunk), expected.logits), bound)
        << "chunks of " << chunk;
  }
  const Session session = make_session(model, 64);
  const std::vector<int32_t> prompt(expected.input_ids.begin(), expected.input_ids.begin() + 16);
  EXPECT_EQ(greedy(session, prompt, static_cast<uint32_t>(expected.greedy.size())), expected.greedy);
}

TEST_P(Architecture, EveryIsaLevelGivesTheSameGreedyTokens) {
  const Expected expected = read_expected(GetParam() + "/expected.safetensors");
  const TempDir dir;
  const std::string path = dir.file("model.mnw");
  compress(GetParam(), path, compress::Storage::source16);
  const std::vector<int32_t> prompt(expected.input_ids.begin(), expected.input_ids.begin() + 16);
  int levels = 0;
  for (const char* isa : {"scalar", "avx2", "avxvnni", "avx512vnni", "neon", "neon_dotprod", "neon_i8mm"}) {
    minnow_engine_params p = minnow_engine_params_default();
    p.threads = 2;
    p.isa = isa;
    minnow_engine* e = nullptr;
    if (minnow_engine_create(&p, &e) != MINNOW_OK) continue;  // a level of another machine
    const Engine engine(e);
    const Model model = load_model(engine, path);
    const Session session = make_session(model, 64);
    EXPECT_EQ(greedy(session, prompt, static_cast<uint32_t>(expected.greedy.size())), expected.greedy) << isa;
    ++levels;
  }
  EXPECT_GE(levels, 1);
}

TEST_P(Architecture, EightBitWeightsStayClose) {
  const Expected expected = read_expected(GetParam() + "/expected.safetensors");
  for (uint32_t group : {32u, 64u, 128u}) {
    const TempDir dir;
    const std::string path = dir.file("model.mnw");
    compress(GetParam(), path, compress::Storage::w8, group);
    const Engine engine = make_engine();
    const Model model = load_model(engine, path);
    ASSERT_NE(model, nullptr);
    for (minnow_kv_type kv : {MINNOW_KV_F32, MINNOW_KV_F16, MINNOW_KV_Q8}) {
      const Session session = make_session(model, 64, kv);
      const auto logits = all_logits(session, expected.input_ids, 48);
      double square = 0.0;
      ASSERT_EQ(logits.size(), expected.logits.size());
      for (size_t i = 0; i < logits.size(); ++i)
        square += std::pow(double{logits[i]} - expected.logits[i], 2.0);
      // Eight bits for weights, activations and KV. These models are random and 64 wide, so the noise of
      // rounding averages out far less than in a real one (whose loss is held to 0.002 nats elsewhere):
      // about 6 % of the spread is seen at group 128. A wrong scale, zero or order gives 100 % and more.
      EXPECT_LE(std::sqrt(square / static_cast<double>(logits.size())), 0.12 * deviation(expected.logits))
          << "group " << group << ", KV type " << kv;
    }
  }
}

/// The root mean square of the difference, over the deviation of b.
double relative_rms(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return INFINITY;
  double square = 0.0;
  for (size_t i = 0; i < a.size(); ++i) square += std::pow(double{a[i]} - b[i], 2.0);
  return std::sqrt(square / static_cast<double>(a.size())) / deviation(b);
}

// One column, a few and many run by different kernels, in three layouts; instruction sets differ too. All
// read the same codes and make the same integer sums. What may differ is the rounding of f32 sums, and an
// activation that such a difference tips over to the next of its 127 codes. Rounding moves every activation
// by up to half a code, so codes that tip cannot add more noise than rounding did in the first place: what it
// did is seen with 8-bit weights.
TEST_P(Architecture, LowBitWeightsGiveTheSameLogitsEveryWay) {
  const Expected expected = read_expected(GetParam() + "/expected.safetensors");
  double noise = 0.0;
  for (compress::Storage storage :
       {compress::Storage::w8, compress::Storage::w4, compress::Storage::w3, compress::Storage::w2}) {
    const TempDir dir;
    const std::string path = dir.file("model.mnw");
    compress(GetParam(), path, storage, 32);
    std::vector<float> reference;
    for (const char* isa : {"scalar", "avx2", "avxvnni", "avx512vnni", "neon", "neon_dotprod", "neon_i8mm"}) {
      minnow_engine_params p = minnow_engine_params_default();
      p.threads = 1;
      p.isa = isa;
      minnow_engine* e = nullptr;
      if (minnow_engine_create(&p, &e) != MINNOW_OK) continue;  // a level of another machine
      const Engine engine(e);
      const Model model = load_model(engine, path);
      ASSERT_NE(model, nullptr);
      for (size_t chunk : {size_t{48}, size_t{1}, size_t{5}}) {
        const Session session = make_session(model, 64);
        const auto logits = all_logits(session, expected.input_ids, chunk);
        if (reference.empty()) reference = logits;
        if (noise == 0.0) noise = relative_rms(logits, expected.logits);
        EXPECT_LE(relative_rms(logits, reference), noise)
            << isa << ", chunks of " << chunk << ", storage " << int(storage);
      }
    }
    ASSERT_FALSE(reference.empty());
  }
}

// Threads take other pieces at other speeds; sums must not depend on it.
TEST_P(Architecture, LowBitLogitsDoNotDependOnThreads) {
  const Expected expected = read_expected(GetParam() + "/expected.safetensors");
  const TempDir dir;
  const std::string path = dir.file("model.mnw");
  compress(GetParam(), path, compress::Storage::w3, 64);
  std::vector<float> reference;
  for (uint32_t threads : {1u, 2u, 3u}) {
    const Engine engine = make_engine(threads);
    const Model model = load_model(engine, path);
    ASSERT_NE(model, nullptr);
    std::vector<float> logits;
    for (size_t chunk : {size_t{1}, size_t{5}, size_t{48}}) {
      const Session session = make_session(model, 64);
      const auto more = all_logits(session, expected.input_ids, chunk);
      logits.insert(logits.end(), more.begin(), more.end());
    }
    if (reference.empty()) reference = logits;
    EXPECT_EQ(logits, reference) << threads << " threads";
  }
}

// Behind 600 tokens attention of few tokens is cut into pieces of positions. The cut may not show: not in how
// many threads took the pieces, and, float KV, not in how many tokens a chunk has.
TEST_P(Architecture, LongContextsDoNotDependOnThreadsOrChunks) {
  const Expected expected = read_expected(GetParam() + "/expected.safetensors");
  const TempDir dir;
  const std::string path = dir.file("model.mnw");
  compress(GetParam(), path, compress::Storage::source16);
  const size_t length = GetParam().ends_with("/opt") ? 120 : 600;  // which has learned positions
  std::vector<int32_t> tokens;
  while (tokens.size() < length)
    tokens.insert(tokens.end(), expected.input_ids.begin(), expected.input_ids.end());
  tokens.resize(length);
  for (minnow_kv_type kv : {MINNOW_KV_F32, MINNOW_KV_F16, MINNOW_KV_Q8}) {
    std::vector<float> first;
    for (uint32_t threads : {1u, 3u}) {
      const Engine engine = make_engine(threads);
      const Model model = load_model(engine, path);
      ASSERT_NE(model, nullptr);
      const Session session = make_session(model, static_cast<uint32_t>(length), kv);
      const std::vector<int32_t> head(tokens.begin(), tokens.end() - 20),
          tail(tokens.end() - 20, tokens.end());
      all_logits(session, head, length);
      for (size_t chunk : {size_t{1}, size_t{5}}) {
        ASSERT_EQ(minnow_session_rewind(session.get(), static_cast<uint32_t>(head.size())), MINNOW_OK);
        const std::vector<float> logits = all_logits(session, tail, chunk);
        if (first.empty()) first = logits;
        const double bound = chunk == 1           ? 0.0
                             : kv == MINNOW_KV_Q8 ? 0.02 * deviation(first)
                                                  : 0.0005 * deviation(first);
        EXPECT_LE(largest_difference(logits, first), bound)
            << threads << " threads, chunks of " << chunk << ", KV type " << kv;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, Architecture, ::testing::ValuesIn(architecture_fixtures()), fixture_name);

}  // namespace
}  // namespace minnow::testing
