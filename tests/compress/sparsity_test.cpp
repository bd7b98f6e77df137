// Activation sparsity: thresholds as calibrated, what they leave out of text never seen, and that skipping is
// masking and nothing else.
#include <gmock/gmock.h>

#include <cmath>

#include "base/cpu.h"
#include "base/file.h"
#include "compress/chess/chess.h"
#include "compress/chess/statistics.h"
#include "exec/float_gemm.h"
#include "format/tokenizer_view.h"
#include "support/bytes.h"
#include "support/fixtures.h"
#include "text/tokenizer.h"

namespace minnow::testing {
namespace {

using namespace compress;
using ::testing::HasSubstr;

/// A file opened below the C API.
struct Opened {
  std::unique_ptr<format::Container> container;
  std::unique_ptr<model::Weights> weights;
  std::unique_ptr<model::Plan> plan;
  std::unique_ptr<ThreadPool> pool;

  explicit Opened(const std::string& path) {
    auto c = format::Container::open(std::move(MappedFile::open(path)).value());
    EXPECT_TRUE(c.ok()) << c.status().message();
    container = std::make_unique<format::Container>(std::move(c).value());
    weights = std::make_unique<model::Weights>(std::move(model::Weights::create(*container)).value());
    auto p = model::Plan::create(*weights, detect_isa(), exec::float_gemm_available());
    EXPECT_TRUE(p.ok()) << p.status().message();
    plan = std::make_unique<model::Plan>(std::move(p).value());
    pool = std::move(ThreadPool::create(1)).value();
  }
  size_t layers() const { return weights->layers.size(); }
  uint32_t ffn() const { return weights->config().ffn_size; }

  exec::Decoder decoder(uint32_t context, bool masks, exec::Probe* probe = nullptr,
                        float scale = 1.0f) const {
    exec::DecoderOptions o;
    o.context = context;
    o.sparsity = o.mask_prompts = masks;
    o.threshold_scale = scale;
    o.probe = probe;
    return std::move(exec::Decoder::create(*plan, *pool, o)).value();
  }
};

std::string calibration_text() {
  return data_folder() + "/text/books-calibration.txt";
}

std::vector<int32_t> held_out(const Opened& o, size_t count) {
  const std::string text = std::move(read_text_file(data_folder() + "/text/books-dev.txt", 1u << 30)).value();
  const auto tokenizer =
      std::move(
          text::Tokenizer::create(std::move(format::TokenizerView::open(o.container->tokenizer())).value()))
          .value();
  std::vector<int32_t> ids;
  EXPECT_TRUE(tokenizer->encode(text, false, false, ids).ok());
  ids.resize(count);
  return ids;
}

/// books-7m at 4 bits with thresholds of a method, made once a process (which runs all of this suite).
class Books : public ::testing::Test {
 protected:
  static constexpr uint32_t kTokens = 4096, kLength = 512, kHeldOut = 2048;
  void SetUp() override { MINNOW_NEEDS_DATA(calibration_text()); }

  static const std::string& dense() {
    static const CompressedModel model(MINNOW_EXAMPLE_MODELS "/books-7m", Storage::w4);
    static const std::string path = model.path();
    return path;
  }
  static SparsityOptions options(SparsityMethod method, double share) {
    SparsityOptions o;
    o.share = share;
    o.method = method;
    o.calibration = {calibration_text()};
    o.tokens = kTokens;
    o.length = kLength;
    o.threads = 1;  // other tests run beside this one
    return o;
  }
  static std::string with(SparsityMethod method, double share) {
    static const TempDir dir;
    const std::string path = dir.file(cat(name_of(method), share, ".mnw"));
    if (std::filesystem::exists(path)) return path;
    const auto report = add_sparsity(dense(), options(method, share), path);
    EXPECT_TRUE(report.ok()) << report.status().message();
    return path;
  }
};

TEST_F(Books, RealisedSparsityIsWhatWasAskedFor) {
  for (const double share : {0.3, 0.5, 0.7}) {
    const Opened o(with(SparsityMethod::chess, share));
    exec::Decoder d = o.decoder(kHeldOut, true);
    ASSERT_TRUE(d.forward(held_out(o, kHeldOut)).ok());
    for (size_t i = 0; i < o.plan->masks.size(); ++i) {
      const model::Mask& m = o.plan->masks[i];
      const double realised = 1.0 - static_cast<double>(d.kept(i)) / (double{kHeldOut} * m.units);
      if (m.gate) {
        EXPECT_NEAR(realised, share, 0.02) << "gate of layer " << m.layer;
      }
    }
  }
}

/// Means of |up| by a pass of its own, as a check on those behind the thresholds.
class UpMeans : public exec::Probe {
 public:
  UpMeans(size_t layers, size_t ffn) : sums(layers, std::vector<double>(ffn)) {}
  void see(uint32_t layer, Place place, const float* x, size_t stride, size_t rows) override {
    if (place != Place::up) return;
    for (size_t t = 0; t < rows; ++t) {
      for (size_t i = 0; i < sums[layer].size(); ++i) sums[layer][i] += std::fabs(x[t * stride + i]);
    }
  }
  std::vector<std::vector<double>> sums;
};

TEST_F(Books, ThresholdTimesChannelWeightIsConstant) {
  const Opened o(with(SparsityMethod::chess, 0.5));
  const Opened plain(dense());
  UpMeans means(o.layers(), o.ffn());
  const auto tokenizer =
      std::move(text::Tokenizer::create(
                    std::move(format::TokenizerView::open(plain.container->tokenizer())).value()))
          .value();
  const auto sequences = sequences_from_text(*tokenizer, {calibration_text()}, kLength, kTokens / kLength);
  ASSERT_TRUE(sequences.ok());
  exec::Decoder d = plain.decoder(kLength, false, &means);
  for (const auto& s : *sequences) {
    d.rewind(0);
    ASSERT_TRUE(d.forward(s).ok());
  }
  for (size_t l = 0; l < o.layers(); ++l) {
    const float* t = o.weights->layers[l].gate_thresholds;
    ASSERT_NE(t, nullptr);
    const double first = t[0] * means.sums[l][0];
    EXPECT_GT(first, 0.0);
    for (uint32_t i = 1; i < o.ffn(); ++i) ASSERT_NEAR(t[i] * means.sums[l][i], first, first * 1e-4) << i;
    // One threshold a tensor for q and o, none for k, v and gate.
    const model::LayerWeights& w = o.weights->layers[l];
    for (const auto* linear : {w.q, w.o}) {
      ASSERT_NE(linear->thresholds, nullptr);
      EXPECT_EQ(linear->layout, format::Layout::channel);
      for (uint32_t i = 1; i < linear->cols; ++i) ASSERT_EQ(linear->thresholds[i], linear->thresholds[0]);
    }
    for (const auto* linear : {w.k, w.v, w.gate}) EXPECT_EQ(linear->thresholds, nullptr);
  }
}

TEST_F(Books, CatsIsOneThresholdALayer) {
  const Opened o(with(SparsityMethod::cats, 0.5));
  for (const model::LayerWeights& w : o.weights->layers) {
    for (uint32_t i = 1; i < o.ffn(); ++i) ASSERT_EQ(w.gate_thresholds[i], w.gate_thresholds[0]);
  }
}

TEST(Sparsity, EqualChannelWeightsGiveTheMasksOfCats) {
  std::vector<LayerStatistics> one(1), three(1);
  const std::vector<std::vector<float>> ones(1, std::vector<float>(64, 1.0f)),
      threes(1, std::vector<float>(64, 3.0f));
  const std::vector<std::array<std::vector<float>, kRoles>> norms(1);
  SecondPass a(ones, norms, false, one), b(threes, norms, false, three);
  std::vector<float> x;
  for (int i = 0; i < 64 * 200; ++i) x.push_back(std::sin(static_cast<float>(i) * 1.7f) * 0.3f);
  a.see(0, exec::Probe::Place::gate, x.data(), 64, 200);
  b.see(0, exec::Probe::Place::gate, x.data(), 64, 200);
  for (const double k : {0.1, 0.5, 0.9}) {
    const float cats = one[0].score.quantile(k), chess = three[0].score.quantile(k) / 3.0f;
    size_t differ = 0, below = 0;
    for (const float v : x) {
      differ += (std::fabs(v) <= cats) != (std::fabs(v) <= chess);
      below += std::fabs(v) <= cats;
    }
    EXPECT_LE(differ, x.size() / 500) << k;
    EXPECT_NEAR(static_cast<double>(below) / static_cast<double>(x.size()), k, 0.005);
  }
}

std::vector<float> logits_with(const Model& model, const std::vector<int32_t>& tokens,
                               minnow_sparsity sparsity, bool prompts, size_t chunk, float scale = 1.0f) {
  minnow_session_params p = minnow_session_params_default();
  p.context = static_cast<uint32_t>(tokens.size());
  p.kv_type = MINNOW_KV_F32;
  p.sparsity = sparsity;
  p.sparsity_prompts = prompts ? 1 : 0;
  p.sparsity_scale = scale;
  minnow_session* s = nullptr;
  EXPECT_EQ(minnow_session_create(model.get(), &p, &s), MINNOW_OK) << minnow_last_error();
  return all_logits(Session(s), tokens, chunk);
}

/// Logits behind each token at the start of a sequence: alone, or with another behind it, as prompts are run.
/// Later in a sequence a sum whose order differs tips the rounding of some activation to int8, and that
/// grows: dense models at 4 bits differ by 0.05 there between one token at a time and many.
std::vector<std::vector<float>> first_logits(const Model& model, const std::vector<int32_t>& tokens,
                                             minnow_sparsity sparsity, size_t together) {
  std::vector<std::vector<float>> out;
  for (const int32_t t : tokens) {
    const std::vector<int32_t> pair(together, t);
    std::vector<float> logits = logits_with(model, pair, sparsity, true, together);
    logits.resize(logits.size() / together);
    out.push_back(std::move(logits));
  }
  return out;
}

/// The same but for the order of sums: to the last bits of a float, but for the few tokens in which an
/// activation lies so near a rounding step or a threshold that the order tips it. (Kernels are compared bit
/// for bit in tests/kernels.)
void expect_same(const std::vector<std::vector<float>>& a, const std::vector<std::vector<float>>& b) {
  size_t close = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].size(), b[i].size());
    close += relative_difference(a[i], b[i]) < 2e-5;
  }
  EXPECT_GE(close * 8, a.size() * 7) << close << " of " << a.size();
}

TEST_F(Books, NothingAskedForIsDense) {
  const Engine engine = make_engine(1);
  const Model plain = load_model(engine, dense());
  const Model zero = load_model(engine, with(SparsityMethod::chess, 0.0));
  const std::vector<int32_t> tokens = some_tokens(96, 1, 4096);
  const std::vector<int32_t> some(tokens.begin(), tokens.begin() + 16);
  // q and o lie by channels there, so sums differ in their order.
  const auto want = first_logits(plain, some, MINNOW_SPARSITY_AUTO, 1);
  expect_same(first_logits(zero, some, MINNOW_SPARSITY_ON, 1), want);
  const Model half = load_model(engine, with(SparsityMethod::chess, 0.5));
  expect_same(first_logits(half, some, MINNOW_SPARSITY_OFF, 1), want);
  // No threshold is above zero: the same to the bit.
  const std::vector<float> off = logits_with(half, tokens, MINNOW_SPARSITY_OFF, false, 1);
  EXPECT_EQ(logits_with(half, tokens, MINNOW_SPARSITY_ON, true, 1, 0.0f), off);
  EXPECT_GT(relative_difference(logits_with(half, tokens, MINNOW_SPARSITY_ON, true, 1), off), 0.2);
}

/// Logits behind every token, one at a time.
std::vector<float> decoded(const Opened& o, uint32_t threads, const std::vector<int32_t>& tokens, bool skip,
                           float scale, exec::ListingLimits limits = {}) {
  const auto pool = std::move(ThreadPool::create(threads)).value();
  exec::DecoderOptions options;
  options.context = static_cast<uint32_t>(tokens.size());
  options.sparsity = true;
  options.skip = skip;
  options.threshold_scale = scale;
  options.listing = limits;
  exec::Decoder d = std::move(exec::Decoder::create(*o.plan, *pool, options)).value();
  std::vector<float> out;
  for (const int32_t t : tokens) {
    EXPECT_TRUE(d.forward({&t, 1}).ok());
    out.insert(out.end(), d.logits().begin(), d.logits().end());
  }
  EXPECT_EQ(d.sparsity_counts().bytes_skipped != 0, skip);
  return out;
}

TEST_F(Books, SkippingIsMaskingToTheBit) {
  const std::vector<int32_t> tokens = some_tokens(64, 2, 4096);
  // Five times the thresholds leave out nearly everything.
  for (const auto& [method, scale] : {std::pair{SparsityMethod::chess, 1.0f},
                                      {SparsityMethod::chess, 5.0f},
                                      {SparsityMethod::best, 1.0f}}) {
    SCOPED_TRACE(cat(name_of(method), ' ', scale));
    const Opened o(with(method, 0.5));
    const std::vector<float> masked = decoded(o, 1, tokens, false, scale);
    EXPECT_EQ(decoded(o, 1, tokens, true, scale), masked);
    EXPECT_EQ(decoded(o, 2, tokens, true, scale), masked) << "the number of threads shows";
    EXPECT_EQ(decoded(o, 1, tokens, true, scale, {1.0f, 1.0f}), masked) << "all by list";
    EXPECT_EQ(decoded(o, 1, tokens, true, scale, {0.1f, 0.9f}), masked) << "few rows by list";
  }
}

TEST_F(Books, ListingIsMeasuredOnMatricesWorthTiming) {
  const Opened o(with(SparsityMethod::chess, 0.5));
  const auto small = exec::measure_listing(*o.plan, *o.pool);
  ASSERT_TRUE(small.ok());
  EXPECT_EQ(small->rows, exec::ListingLimits().rows);
  EXPECT_EQ(small->channels, exec::ListingLimits().channels);
  for (const uint32_t threads : {1u, 2u}) {
    const auto pool = std::move(ThreadPool::create(threads)).value();
    const auto timed = exec::measure_listing(*o.plan, *pool, 0);
    ASSERT_TRUE(timed.ok());
    for (const float share : {timed->rows, timed->channels}) {
      EXPECT_GT(share, 0.0f);
      EXPECT_LT(share, 0.9f);
    }
  }
  // Nothing to time where nothing may be left out.
  const auto plain = exec::measure_listing(*Opened(dense()).plan, *o.pool, 0);
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->rows, exec::ListingLimits().rows);
}

TEST_F(Books, WhereLittleIsLeftOutAllIsRead) {
  const Opened o(with(SparsityMethod::chess, 0.5));
  const std::vector<int32_t> tokens = held_out(o, 32);
  // Bytes not read for those left out: none, those of some parts, nearly all.
  for (const auto& [scale, least, most] : {std::tuple{0.2f, 0.0, 0.0}, {1.0f, 0.3, 0.9}, {5.0f, 0.95, 1.1}}) {
    exec::Decoder d = o.decoder(32, true, nullptr, scale);
    for (const int32_t t : tokens) ASSERT_TRUE(d.forward({&t, 1}).ok());
    const exec::SparsityCounts c = d.sparsity_counts();
    EXPECT_GT(c.skipped_weights, c.maskable_weights / 20) << scale;
    double bytes = 0.0;  // of what may be left out
    for (const model::LayerWeights& w : o.weights->layers)
      for (const auto* linear : {w.q, w.o, w.up, w.down}) bytes += static_cast<double>(linear->bytes());
    const double left_out = static_cast<double>(c.skipped_weights) / static_cast<double>(c.maskable_weights),
                 not_read = static_cast<double>(c.bytes_skipped) / (bytes * static_cast<double>(c.tokens));
    EXPECT_GE(not_read / left_out, least) << scale;
    EXPECT_LE(not_read / left_out, most) << scale;
  }
}

/// sum of (up act(gate))^2 that masks of several files leave out.
class ProductErrors : public exec::Probe {
 public:
  ProductErrors(const Opened& chess, const Opened& cats, const Opened& oracle)
      : files_{&chess, &cats, &oracle}, n_(chess.ffn()) {}
  void see(uint32_t layer, Place place, const float* x, size_t stride, size_t rows) override {
    if (place == Place::gate) gate_.assign(x, x + stride * (rows - 1) + n_);
    if (place != Place::inner) return;
    for (size_t t = 0; t < rows; ++t) {
      for (size_t i = 0; i < n_; ++i) {
        const float g = std::fabs(gate_[t * stride + i]), p = std::fabs(x[t * stride + i]);
        for (int f = 0; f < 3; ++f) {
          const model::LayerWeights& w = files_[f]->weights->layers[layer];
          const bool out = f == 2 ? p <= w.down->thresholds[i] : g <= w.gate_thresholds[i];
          if (out) errors[f] += double{p} * p, ++left_out[f];
        }
      }
    }
  }
  double errors[3] = {};
  uint64_t left_out[3] = {};

 private:
  const Opened* files_[3];
  size_t n_;
  std::vector<float> gate_;
};

TEST_F(Books, OracleBeatsChessBeatsCatsInProducts) {
  const Opened chess(with(SparsityMethod::chess, 0.5)), cats(with(SparsityMethod::cats, 0.5)),
      oracle(with(SparsityMethod::oracle, 0.5)), plain(dense());
  ProductErrors errors(chess, cats, oracle);
  exec::Decoder d = plain.decoder(kHeldOut, false, &errors);
  ASSERT_TRUE(d.forward(held_out(plain, kHeldOut)).ok());
  RecordProperty("chess", std::to_string(errors.errors[0]));
  RecordProperty("cats", std::to_string(errors.errors[1]));
  RecordProperty("oracle", std::to_string(errors.errors[2]));
  EXPECT_LT(errors.errors[2], errors.errors[0]);
  EXPECT_LT(errors.errors[0], errors.errors[1]);
  for (const uint64_t n : errors.left_out)
    EXPECT_NEAR(static_cast<double>(n), 0.5 * kHeldOut * plain.ffn() * static_cast<double>(plain.layers()),
                0.02 * kHeldOut * plain.ffn() * static_cast<double>(plain.layers()));
}

TEST(Sparsity, ActivatedFractionIsThePublishedFormula) {
  const auto config = [](uint32_t d, uint32_t heads, uint32_t kv, uint32_t f, uint32_t vocab) {
    format::Config c;
    c.hidden_size = d, c.head_count = heads, c.kv_head_count = kv, c.head_dim = d / heads, c.ffn_size = f,
    c.vocab_size = vocab;
    return c;
  };
  const format::Config llama2 = config(4096, 32, 32, 11008, 32000),
                       llama3 = config(4096, 32, 8, 14336, 128256),
                       mistral = config(4096, 32, 8, 14336, 32000);
  EXPECT_NEAR(nominal_activated_fraction(llama2, 32, 0.5, false), 0.7816, 5e-4);
  EXPECT_NEAR(nominal_activated_fraction(llama2, 32, 0.5, true), 0.7004, 5e-4);
  EXPECT_NEAR(nominal_activated_fraction(llama3, 32, 0.5, true), 0.6781, 5e-4);
  EXPECT_NEAR(nominal_activated_fraction(llama3, 32, 0.7, true), 0.5493, 5e-4);
  EXPECT_NEAR(nominal_activated_fraction(mistral, 32, 0.5, true), 0.6602, 5e-4);
}

TEST_F(Books, StatisticsCountWhatWasLeftOut) {
  const Engine engine = make_engine(1);
  for (const SparsityMethod method : {SparsityMethod::chess, SparsityMethod::best}) {
    const std::string path = with(method, 0.5);
    const Opened o(path);
    const std::vector<int32_t> tokens = held_out(o, 512);
    const Model model = load_model(engine, path);
    minnow_session_params p = minnow_session_params_default();
    p.context = 1024, p.sparsity_prompts = 1;
    minnow_session* raw = nullptr;
    ASSERT_EQ(minnow_session_create(model.get(), &p, &raw), MINNOW_OK);
    const Session session(raw);
    prefill(session, tokens);
    minnow_session_stats stats{};
    stats.struct_size = sizeof stats;
    ASSERT_EQ(minnow_session_get_stats(session.get(), &stats), MINNOW_OK);
    EXPECT_EQ(stats.tokens_masked, tokens.size());
    EXPECT_NEAR(stats.activated_fraction,
                nominal_activated_fraction(o.weights->config(), o.layers(), 0.5, true), 0.02)
        << name_of(method);
    EXPECT_EQ(stats.weight_bytes_skipped, 0u) << "prompts are read whole";
    if (method == SparsityMethod::chess) {
      EXPECT_NEAR(stats.realised_sparsity, 0.5, 0.02);
    }
    for (size_t i = 0; i < 64; ++i) ASSERT_EQ(minnow_decode(session.get(), tokens[i]), MINNOW_OK);
    ASSERT_EQ(minnow_session_get_stats(session.get(), &stats), MINNOW_OK);
    const double share =
        static_cast<double>(stats.weight_bytes_skipped) / 64.0 / static_cast<double>(o.plan->bytes_per_token);
    // best leaves out little in many places, and what is little is read (see above).
    EXPECT_GT(share, method == SparsityMethod::chess ? 0.15 : 0.1);
    EXPECT_LT(share, 1.0 - stats.activated_fraction + 0.05);

    // A chunk that was cancelled half way counts nothing.
    const minnow_session_stats before = stats;
    const auto cancel = [](void* user, float done) {
      if (done > 0.2f) minnow_session_cancel(static_cast<minnow_session*>(user));
      return 1;
    };
    EXPECT_EQ(minnow_prefill(session.get(), tokens.data(), 256, cancel, session.get()), MINNOW_CANCELLED);
    ASSERT_EQ(minnow_session_get_stats(session.get(), &stats), MINNOW_OK);
    EXPECT_EQ(stats.tokens_masked, before.tokens_masked);
    EXPECT_EQ(stats.realised_sparsity, before.realised_sparsity);
    ASSERT_EQ(minnow_decode(session.get(), tokens[0]), MINNOW_OK);
    ASSERT_EQ(minnow_session_get_stats(session.get(), &stats), MINNOW_OK);
    EXPECT_EQ(stats.tokens_masked, before.tokens_masked + 1);
    EXPECT_NEAR(stats.realised_sparsity, before.realised_sparsity, 0.01);
  }
}

/// Every architecture, from text it samples itself; those without a gate skip in the second matrix only.
class EveryFamily : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryFamily, TakesThresholdsAndRuns) {
  for (const Storage storage : {Storage::w4, Storage::f32}) {
    const TempDir dir;
    compress(GetParam(), dir.file("m.mnw"), storage, 32);
    SparsityOptions o;
    o.share = 0.5;
    o.threads = 1, o.tokens = 4096;  // where they lie is not what is tested
    for (const SparsityMethod method : {SparsityMethod::chess, SparsityMethod::best}) {
      o.method = method;
      const auto report = add_sparsity(dir.file("m.mnw"), o, dir.file("s.mnw"));
      ASSERT_TRUE(report.ok()) << report.status().message();
      const auto trial = try_sparsity(dir.file("m.mnw"), o, dir.file("trial.mnw"));
      ASSERT_TRUE(trial.ok());
      EXPECT_LE(report->file_bytes, trial->file_bytes) << "the budget would be overdrawn";
      const Opened opened(dir.file("s.mnw"));
      const bool gated = opened.weights->config().ffn == format::FfnKind::gated;
      for (const model::LayerWeights& w : opened.weights->layers) {
        EXPECT_EQ(w.gate_thresholds != nullptr, gated);
        EXPECT_NE(w.down->thresholds, nullptr);
        if (gated) {
          EXPECT_EQ(w.gate->thresholds != nullptr, method == SparsityMethod::best);
        }
        EXPECT_EQ(w.k->thresholds, nullptr);
        EXPECT_EQ(w.v->thresholds, nullptr);
      }
      const Engine engine = make_engine(1);
      const Model model = load_model(engine, dir.file("s.mnw"));
      const std::vector<int32_t> tokens = some_tokens(24, 3, opened.weights->config().vocab_size);
      expect_same(first_logits(model, tokens, MINNOW_SPARSITY_ON, 1),
                  first_logits(model, tokens, MINNOW_SPARSITY_ON, 2));
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Fixtures, EveryFamily,
                         ::testing::Values(MINNOW_TEST_DATA "/arch/llama-tied-gqa",
                                           MINNOW_TEST_DATA "/arch/opt", MINNOW_TEST_DATA "/arch/phi",
                                           MINNOW_TEST_DATA "/arch/gemma2"));

TEST(Sparsity, RemakingKeepsTheCodes) {
  const TempDir dir;
  compress(MINNOW_TEST_DATA "/arch/llama-tied-gqa", dir.file("m.mnw"), Storage::w3, 32);
  SparsityOptions o;
  o.method = SparsityMethod::chess;
  o.threads = 1, o.tokens = 4096;
  ASSERT_TRUE(add_sparsity(dir.file("m.mnw"), o, dir.file("a.mnw")).ok());
  o.share = 0.3;
  ASSERT_TRUE(add_sparsity(dir.file("m.mnw"), o, dir.file("b.mnw")).ok());
  ASSERT_TRUE(add_sparsity(dir.file("a.mnw"), o, dir.file("c.mnw")).ok());
  EXPECT_EQ(read_bytes(dir.file("b.mnw")).size(), read_bytes(dir.file("c.mnw")).size());
  const Opened m(dir.file("m.mnw")), c(dir.file("c.mnw"));
  for (size_t i = 0; i < m.weights->linears.size(); ++i) {
    const model::LinearWeights &x = m.weights->linears[i], &y = c.weights->linears[i];
    std::vector<float> p(x.cols + 64), q(p.size());
    for (uint32_t r = 0; r < x.rows; ++r) {
      model::dequantise_row(x, r, m.plan->kernels, p.data());
      model::dequantise_row(y, r, c.plan->kernels, q.data());
      ASSERT_EQ(p, q) << x.name << ", row " << r;
    }
  }
}

TEST(Sparsity, BadRequestsSayWhatIsWrong) {
  const TempDir dir;
  SparsityOptions o;
  o.share = 0.96;
  EXPECT_THAT(add_sparsity(tiny_path(), o, dir.file("x.mnw")).status().message(),
              HasSubstr("between 0 and 0.95"));
  o.share = NAN;
  EXPECT_FALSE(add_sparsity(tiny_path(), o, dir.file("x.mnw")).ok());
  o.share = 0.5;
  for (const double least : {-0.1, 1.0, static_cast<double>(NAN)}) {
    o.least = {0.0, least};
    EXPECT_THAT(add_sparsity(tiny_path(), o, dir.file("x.mnw")).status().message(),
                HasSubstr("at least 0 and below 1"));
  }
  o.least = {};
  EXPECT_THAT(add_sparsity(dir.file("none.mnw"), o, dir.file("x.mnw")).status().message(),
              HasSubstr("none.mnw"));
  o.calibration = {"/nonexistent.txt"};
  EXPECT_THAT(add_sparsity(tiny_path(), o, dir.file("x.mnw")).status().message(), HasSubstr("no tokenizer"));
  EXPECT_FALSE(std::filesystem::exists(dir.file("x.mnw")));

  const Engine engine = make_engine();
  const Model model = load_model(engine, tiny_path());
  minnow_session_params p = minnow_session_params_default();
  minnow_session* s = nullptr;
  p.sparsity = MINNOW_SPARSITY_ON;
  EXPECT_EQ(minnow_session_create(model.get(), &p, &s), MINNOW_UNSUPPORTED);
  EXPECT_THAT(minnow_last_error(), HasSubstr("no thresholds"));
  p.sparsity = static_cast<minnow_sparsity>(3);
  EXPECT_EQ(minnow_session_create(model.get(), &p, &s), MINNOW_INVALID_ARGUMENT);
  p.sparsity = MINNOW_SPARSITY_AUTO;
  for (const float scale : {-1.0f, NAN, INFINITY}) {
    p.sparsity_scale = scale;
    EXPECT_EQ(minnow_session_create(model.get(), &p, &s), MINNOW_INVALID_ARGUMENT) << scale;
  }
}

}  // namespace
}  // namespace minnow::testing
