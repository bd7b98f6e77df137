// Attention over selected keys, on whole models (papers' acceptance tests; docs/retrieval.md).
#include "exec/retrieval.h"

#include <gmock/gmock.h>

#include <cmath>
#include <complex>
#include <map>
#include <random>
#include <set>

#include "base/checked.h"
#include "base/cpu.h"
#include "exec/decoder.h"
#include "exec/key_index.h"
#include "support/codebooks.h"
#include "support/selecting.h"

namespace minnow::testing {
namespace {

using ::testing::HasSubstr;

/// What attention gave the last token in the first layer.
struct FirstAttention : exec::Probe {
  std::vector<float> last;
  void see(uint32_t layer, Place place, const float* x, size_t stride, size_t rows) override {
    if (layer == 0 && place == Place::attention_out) last.assign(x + (rows - 1) * stride, x + rows * stride);
  }
};

TEST(Retrieval, TakingEverythingIsDense) {
  // Rounded activations would make steps of differences in the last bit.
  const Opened o(tiny_floats_with_codebooks());
  const auto tokens = some_tokens(400);
  for (const kv::Type kv : {kv::Type::f32, kv::Type::f16, kv::Type::q8}) {
    FirstAttention dense_out, all_out;
    auto dense = o.decoder({}, 64, kv, 512, &dense_out),
         all = o.decoder(selecting(1.0f), 64, kv, 512, &all_out);
    const auto expected = run(dense, tokens, 300), got = run(all, tokens, 300);
    // q8 rounds weights by tiles, which begin elsewhere in pieces of a list. Layers make more of that: what
    // the first one's attention gives tells.
    EXPECT_LT(relative_difference(all_out.last, dense_out.last), kv == kv::Type::q8 ? 0.02 : 1e-4) << int(kv);
    EXPECT_LT(relative_difference(got, expected), kv == kv::Type::q8 ? INFINITY : 1e-4) << int(kv);
    EXPECT_EQ(all.retrieval_counts().attended, all.retrieval_counts().seen);
    EXPECT_EQ(all.retrieval_counts().tokens, 100u);
  }
}

TEST(Retrieval, SinksAndWindowHoldShortContextsWhole) {
  const Opened o(tiny_with_codebooks());
  const auto tokens = some_tokens(exec::kSinks + exec::kWindow);
  auto dense = o.decoder({}), few = o.decoder(selecting(1e-6f));
  EXPECT_LT(relative_difference(run(few, tokens, 1), run(dense, tokens, 1)), 1e-4);
  for (uint32_t h = 0; h < o.plan.config->kv_head_count; ++h) {
    const auto list = positions(few, h);
    ASSERT_EQ(list.size(), tokens.size());  // nothing twice
    for (uint32_t p = 0; p < list.size(); ++p) EXPECT_EQ(list[p], p);
  }
}

TEST(Retrieval, UnionsLieBetweenOneHeadsKeysAndAllOfTheirs) {
  const Opened o(tiny_with_codebooks());
  const auto tokens = some_tokens(400);
  const float fraction = 0.1f;
  auto d = o.decoder(selecting(fraction));
  run(d, tokens, 200);
  for (size_t i = 0; i < 50; ++i) {
    const int32_t t = tokens[i];
    ASSERT_TRUE(d.forward({&t, 1}).ok());
    const uint32_t n = d.position(), k = static_cast<uint32_t>(fraction * static_cast<float>(n));
    for (uint32_t h = 0; h < o.plan.config->kv_head_count; ++h) {
      const auto list = positions(d, h);
      for (uint32_t p = 0; p < exec::kSinks; ++p) ASSERT_EQ(list[p], p);
      for (uint32_t p = 0; p < exec::kWindow; ++p) ASSERT_EQ(list[list.size() - 1 - p], n - 1 - p);
      const size_t far = list.size() - exec::kSinks - exec::kWindow;
      EXPECT_GE(far, k);
      EXPECT_LE(far, size_t{k} * o.plan.config->group_size());
    }
  }
}

TEST(Retrieval, TheSameKeyHasTheSameIdEverywhere) {
  const Opened o(tiny_with_codebooks());
  const std::vector<int32_t> tokens(100, 42);  // in the first layer a key is its token's alone
  auto d = o.decoder(selecting(0.1f));
  run(d, tokens, 70);
  for (uint32_t h = 0; h < o.plan.config->kv_head_count; ++h) {
    const uint16_t* ids = d.index().ids(0, h);
    for (uint32_t p = 1; p < tokens.size(); ++p) EXPECT_EQ(ids[p], ids[0]) << p;
  }
  const auto other = some_tokens(100);
  auto e = o.decoder(selecting(0.1f));
  run(e, other, 70);
  std::set<uint16_t> seen(e.index().ids(0, 0), e.index().ids(0, 0) + other.size());
  EXPECT_GT(seen.size(), 10u);
}

/// What a KV head (of an f32 cache) remembers of its far keys, in double: keys before rotation, values.
struct Far {
  std::vector<std::vector<double>> keys, values;  // of positions
  std::vector<uint16_t> ids;

  Far(const Opened& o, const exec::Selector::Request& r, uint32_t end) {
    for (uint32_t p = 0; p < end; ++p) ids.push_back(kv::centroid_of(r.ids[p]));
    const model::Config& c = *o.plan.config;
    const format::Rope* rope = o.plan.layers[r.layer].weights->rope;
    const size_t half = c.rotary_dim / 2;
    for (uint32_t p = 0; p < end; ++p) {
      const auto* k = reinterpret_cast<const float*>(r.rows.k + p * r.rows.row_stride);
      const auto* v = reinterpret_cast<const float*>(r.rows.v + p * r.rows.row_stride);
      keys.emplace_back(k, k + c.head_dim), values.emplace_back(v, v + c.head_dim);
      for (size_t j = 0; rope != nullptr && j < half; ++j) {
        const double angle = double{static_cast<float>(p) * rope->inv_freq[j]};
        double &x = keys[p][j], &y = keys[p][j + half];
        const double a = x, b = y;
        x = a * std::cos(angle) + b * std::sin(angle), y = b * std::cos(angle) - a * std::sin(angle);
      }
    }
  }
  /// The mean of what lies in [first, end) and has this id; empty where nothing does.
  std::vector<double> mean(const std::vector<std::vector<double>>& of, uint16_t id, uint32_t first) const {
    std::vector<double> sum;
    double n = 0.0;
    for (size_t p = first; p < ids.size(); ++p) {
      if (ids[p] != id) continue;
      sum.resize(of[p].size());
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += of[p][i];
      ++n;
    }
    for (double& x : sum) x /= n;
    return sum;
  }
};

double dot(const float* a, const std::vector<double>& b) {
  double sum = 0.0;
  for (size_t i = 0; i < b.size(); ++i) sum += double{a[i]} * b[i];
  return sum;
}

uint32_t band_of(uint32_t distance) {
  uint32_t band = 0;
  while (band + 1 < exec::kMostBands && distance >= exec::kBands[band + 1]) ++band;
  return band;
}

/// The far query as the keys of position p see it.
const float* query_for(const exec::Selector::Request& r, uint32_t p) {
  return r.far_q + band_of(r.position - p) * r.band_stride;
}

/// Takes what the definition says: the best keys by far query times mean of the centroid's keys; so many, or
/// where a share is given all that weigh so many times the mean key, the weight of far keys estimated.
class ByDefinition : public exec::Selector {
 public:
  ByDefinition(const Opened& o, float fraction, double share = 0.0)
      : o_(o), fraction_(fraction), share_(share) {}
  size_t select(const Request& r, uint32_t first, uint32_t end, uint32_t* list) override {
    const model::Config& c = *o_.plan.config;
    const size_t padded = round_up(size_t{c.head_dim}, size_t{32});
    const Far far(o_, r, end);
    std::set<uint32_t> keys;
    for (size_t g = 0; g < c.group_size(); ++g) {
      std::map<uint16_t, std::vector<double>> means;
      std::vector<double> scores(end, -INFINITY);  // of positions
      for (uint32_t p = first; p < end; ++p) {
        auto& mean = means[far.ids[p]];
        if (mean.empty()) mean = far.mean(far.keys, far.ids[p], first);
        scores[p] = dot(query_for(r, p) + g * padded, mean);
      }
      std::vector<uint32_t> order;
      for (uint32_t p = first; p < end; ++p) order.push_back(p);
      std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
        return scores[a] == scores[b] ? a > b : scores[a] > scores[b];
      });
      auto most = static_cast<size_t>(fraction_ * static_cast<float>(r.position + 1));
      if (share_ > 0.0) most = enough(r, g, scores, first, end);
      keys.insert(order.begin(), order.begin() + static_cast<long>(std::min(most, order.size())));
    }
    std::copy(keys.begin(), keys.end(), list);
    return keys.size();
  }

 private:
  /// How many far keys weigh enough, if what is near counts exactly and far keys as their centroids' means.
  size_t enough(const Request& r, size_t g, const std::vector<double>& scores, uint32_t first,
                uint32_t end) const {
    const model::Config& c = *o_.plan.config;
    const float* q = r.q + g * round_up(size_t{c.head_dim}, size_t{32});
    const auto weight = [&](double score) { return std::exp(score * double{c.attention_scale}); };
    double total = 0.0;
    for (uint32_t p = 0; p <= r.position; ++p) {
      const auto* k = reinterpret_cast<const float*>(r.rows.k + p * r.rows.row_stride);
      total += weight(p >= first && p < end ? scores[p] : dot(q, {k, k + c.head_dim}));
    }
    size_t n = 0;
    for (uint32_t p = first; p < end; ++p) n += weight(scores[p]) >= share_ * total / (r.position + 1.0);
    return n;
  }
  const Opened& o_;
  float fraction_;
  double share_;
};

/// How many far keys two decoders attended to both, and each.
struct Common {
  size_t both = 0, a = 0, b = 0;
  Common(const exec::Decoder& x, const exec::Decoder& y, uint32_t kv_heads) {
    for (uint32_t h = 0; h < kv_heads; ++h) {
      const auto in_x = positions(x, h), in_y = positions(y, h);
      std::vector<uint32_t> in_both;
      std::set_intersection(in_x.begin(), in_x.end(), in_y.begin(), in_y.end(), std::back_inserter(in_both));
      constexpr size_t kNear = exec::kSinks + exec::kWindow;
      both += in_both.size() - kNear, a += in_x.size() - kNear, b += in_y.size() - kNear;
    }
  }
};

/// Far queries are q turned by what the keys of their bands turn by on average.
class MeanTurns : public exec::Selector {
 public:
  explicit MeanTurns(const Opened& o) : o_(o) {}
  size_t select(const Request& r, uint32_t, uint32_t, uint32_t*) override {
    const model::Config& c = *o_.plan.config;
    const format::Rope& rope = *o_.plan.layers[r.layer].weights->rope;
    const size_t padded = round_up(size_t{c.head_dim}, size_t{32}), half = c.rotary_dim / 2;
    for (uint32_t band = 0; band < exec::bands_of(r.position + 1); ++band) {
      const uint32_t first = exec::kBands[band];
      const uint32_t end =
          band + 1 < exec::kMostBands ? std::min(exec::kBands[band + 1], r.position + 1) : r.position + 1;
      for (size_t j = 0; j < half; ++j) {
        std::complex<double> turn;
        for (uint32_t d = first; d < end; ++d)
          turn += std::polar(1.0 / (end - first),
                             double{rope.inv_freq[j]} * (static_cast<double>(d) - r.position));
        for (size_t g = 0; g < c.group_size(); ++g) {
          const float *q = r.q + g * padded, *far = r.far_q + band * r.band_stride + g * padded;
          const auto want = turn * std::complex<double>(q[j], q[j + half]);
          worst = std::max(worst, std::abs(want - std::complex<double>(far[j], far[j + half])));
          largest = std::max(largest, std::abs(std::complex<double>(q[j], q[j + half])));
        }
      }
      ++bands;
    }
    return 0;
  }
  double worst = 0.0, largest = 0.0;
  size_t bands = 0;

 private:
  const Opened& o_;
};

TEST(Retrieval, FarQueriesTurnByTheMeanOfTheirBands) {
  const Opened o(tiny_with_codebooks());
  for (const size_t n : {80, 512, 513, 600}) {
    MeanTurns turns(o);
    auto options = selecting(0.1f, static_cast<uint32_t>(n - 1));
    options.selector = &turns;
    auto d = o.decoder(options, 256, kv::Type::f32, 1024);
    run(d, some_tokens(n), n - 1);
    EXPECT_EQ(turns.bands, o.plan.layers.size() * o.plan.config->kv_head_count * (n > 512 ? 2 : 1));
    EXPECT_LT(turns.worst, 1e-4 * turns.largest) << n;  // angles of rotations are rounded to f32
  }
}

// Over all bands, in steps, back and on again: what is counted is what the ids say.
TEST(Retrieval, CountsKeysByTheirBands) {
  const Opened o(tiny_with_codebooks());
  const model::Config& c = *o.plan.config;
  constexpr uint32_t kContext = 40000;
  const auto layers = static_cast<uint32_t>(o.plan.layers.size());
  exec::WorkspaceShape shape{64, kContext, 1};
  shape.retrieval = true;
  const auto ws = std::move(exec::Workspace::create(o.plan, shape)).value();
  const auto cache = std::move(kv::Cache::create({layers, c.kv_head_count, c.head_dim, kContext})).value();
  auto index = std::move(kv::Index::create(exec::index_shape(o.plan, kContext))).value();
  ASSERT_EQ(index.shape().bands, exec::kMostBands);
  std::mt19937 rng(1);
  for (uint32_t l = 0; l < layers; ++l) {
    for (uint32_t h = 0; h < c.kv_head_count; ++h) {
      for (uint32_t p = 0; p < kContext; ++p)
        index.ids(l, h)[p] =
            static_cast<uint16_t>(rng() % o.plan.centroids | rng() % kv::kLevels << kv::kCentroidBits);
    }
  }
  for (const uint32_t position : {100u, 600u, 5000u, 39999u, 39998u, 4200u, 33000u}) {
    exec::count_far_keys(o.plan, ws, *o.model.pool, cache, index, exec::kSinks, exec::far_end(position));
    for (uint32_t l = 0; l < layers; ++l) {
      for (uint32_t h = 0; h < c.kv_head_count; ++h) {
        std::vector<uint32_t> counts(index.shape().cells()), levels(kv::kLevels);
        for (uint32_t p = exec::kSinks; p < exec::far_end(position); ++p) {
          ++counts[band_of(position - p) * o.plan.centroids + kv::centroid_of(index.ids(l, h)[p])];
          ++levels[kv::level_of(index.ids(l, h)[p])];
        }
        ASSERT_TRUE(std::equal(counts.begin(), counts.end(), index.counts(l, h))) << position;
        ASSERT_TRUE(std::equal(levels.begin(), levels.end(), index.levels(l, h))) << position;
        for (size_t i = 0; i < counts.size(); ++i) {
          if (counts[i] == 0) continue;
          ASSERT_EQ(index.log_counts(l, h)[i], std::log2(static_cast<float>(counts[i]))) << i;
        }
      }
    }
  }
}

TEST(Retrieval, HeadsTakeTheKeysThatWeighEnough) {
  const Opened o(tiny_with_codebooks());
  const auto tokens = some_tokens(700);
  size_t before = SIZE_MAX;
  for (const float share : {1.0f, 1.5f, 2.0f}) {
    auto options = selecting(1.0f);
    options.remainder = false, options.least = 0.0f, options.share = share;
    auto own = o.decoder(options);
    ByDefinition definition(o, 0.0f, double{share});
    options.selector = &definition;
    auto defined = o.decoder(options);
    run(own, tokens, 690), run(defined, tokens, 690);
    const Common far(own, defined, o.plan.config->kv_head_count);
    EXPECT_GT(far.b, 10u);
    EXPECT_LT(far.b, before) << "a higher share takes fewer";
    before = far.b;
    // Means are rounded to f16, so that centroids at the border may differ.
    EXPECT_GT(static_cast<double>(far.both), 0.9 * static_cast<double>(std::max(far.a, far.b))) << share;
  }
}

TEST(Retrieval, SelectsByFarQueryTimesMeanOfTheCentroidsKeys) {
  const Opened o(tiny_with_codebooks());
  const auto tokens = some_tokens(700);
  auto options = selecting(0.1f);
  options.remainder = false;
  auto own = o.decoder(options);
  ByDefinition definition(o, options.fraction);
  options.selector = &definition;
  auto defined = o.decoder(options);
  run(own, tokens, 690), run(defined, tokens, 690);
  // Means are rounded to f16, so that some keys at the border may differ.
  const Common far(own, defined, o.plan.config->kv_head_count);
  EXPECT_GT(static_cast<double>(far.both), 0.95 * static_cast<double>(far.b));
}

/// What the first layer attended to for the last token, and what came out.
class FirstLayer : public exec::Probe {
 public:
  explicit FirstLayer(uint32_t kv_heads) : lists(kv_heads) {}
  void see(uint32_t layer, Place place, const float* x, size_t stride, size_t) override {
    if (layer != 0 || place != Place::attention_out || decoder == nullptr) return;
    out.assign(x, x + stride);
    for (uint32_t h = 0; h < lists.size(); ++h) {
      lists[h] = positions(*decoder, h);
    }
  }
  const exec::Decoder* decoder = nullptr;
  std::vector<float> out;
  std::vector<std::vector<uint32_t>> lists;
};

/// Attention of the first layer over lists and over the means of all else, in double.
class Reference : public exec::Selector {
 public:
  Reference(const Opened& o, const FirstLayer& seen) : o_(o), seen_(seen) {
    out.resize(o.plan.config->head_count * size_t{o.plan.config->head_dim});
  }
  size_t select(const Request& r, uint32_t, uint32_t end, uint32_t*) override {
    if (r.layer != 0) return 0;
    const model::Config& c = *o_.plan.config;
    const size_t padded = round_up(size_t{c.head_dim}, size_t{32});
    const Far far(o_, r, r.position + 1);
    const auto& list = seen_.lists[r.kv_head];
    for (size_t g = 0; g < c.group_size(); ++g) {
      std::vector<double> sum(c.head_dim);
      double total = 0.0;
      const auto add = [&](double score, double times, const std::vector<double>& value) {
        const double w = times * std::exp(score * double{c.attention_scale});
        total += w;
        for (size_t i = 0; i < sum.size(); ++i) sum[i] += w * value[i];
      };
      for (const uint32_t p : list) {
        const auto* k = reinterpret_cast<const float*>(r.rows.k + p * r.rows.row_stride);
        add(dot(r.q + g * padded, {k, k + c.head_dim}), 1.0, far.values[p]);
      }
      Far counted = far;
      counted.ids.resize(end);
      std::map<uint16_t, std::pair<std::vector<double>, std::vector<double>>> means;
      for (uint32_t p = exec::kSinks; p < end; ++p) {
        if (std::binary_search(list.begin(), list.end(), p)) continue;
        const uint16_t id = far.ids[p];
        auto& [key, value] = means[id];
        if (key.empty()) key = counted.mean(far.keys, id, exec::kSinks);
        if (value.empty()) value = counted.mean(far.values, id, exec::kSinks);
        add(dot(query_for(r, p) + g * padded, key), 1.0, value);
      }
      const size_t head = r.kv_head * c.group_size() + g;
      for (size_t i = 0; i < sum.size(); ++i) out[head * c.head_dim + i] = static_cast<float>(sum[i] / total);
    }
    return 0;
  }
  std::vector<float> out;

 private:
  const Opened& o_;
  const FirstLayer& seen_;
};

TEST(Retrieval, TheRestEntersThroughTheMeansOfItsCentroids) {
  const Opened o(tiny_with_codebooks());
  const auto tokens = some_tokens(700);
  FirstLayer seen(o.plan.config->kv_head_count);
  exec::DecoderOptions options;
  options.context = 1024, options.kv = kv::Type::f32, options.retrieval = selecting(0.05f);
  options.retrieval.few_outliers = 0;
  options.retrieval.outliers = 0.03f;  // taken out of centroids that are not: these stand for one key less
  options.probe = &seen;
  auto own = std::move(exec::Decoder::create(o.plan, *o.model.pool, options)).value();
  run(own, {tokens.begin(), tokens.end() - 1}, 600);
  seen.decoder = &own;
  decode(own, std::span(tokens).last(1));
  ASSERT_EQ(own.index().counted(), exec::far_end(699));

  // The first layer sees nothing of what others attended to.
  Reference reference(o, seen);
  auto other = selecting(0.05f, 699);
  other.selector = &reference;
  auto defined = o.decoder(other, 256);
  run(defined, tokens, 600);
  std::vector<float> out(seen.out.begin(), seen.out.begin() + static_cast<long>(reference.out.size()));
  EXPECT_LT(relative_difference(out, reference.out), 2e-3);  // f16
  // It is no small part that enters so.
  const std::vector<float> with = out;
  auto without = options;
  without.retrieval.remainder = false;
  seen.decoder = nullptr;
  auto bare = std::move(exec::Decoder::create(o.plan, *o.model.pool, without)).value();
  run(bare, {tokens.begin(), tokens.end() - 1}, 600);
  seen.decoder = &bare;
  decode(bare, std::span(tokens).last(1));
  EXPECT_GT(relative_difference({seen.out.begin(), seen.out.begin() + static_cast<long>(out.size())}, with),
            0.05);
}

/// Every 7th position, and what share of each query head's attention lies there, sinks and window with it.
class EverySeventh : public exec::Selector {
 public:
  explicit EverySeventh(const model::Config& config) : c_(config) {}
  size_t select(const Request& r, uint32_t first, uint32_t end, uint32_t* list) override {
    size_t n = 0;
    for (uint32_t p = first; p < end; ++p) {
      if (p % 7 == 0) list[n++] = p;
    }
    const size_t padded = round_up(size_t{c_.head_dim}, size_t{32});
    for (size_t g = 0; g < c_.group_size(); ++g) {
      double in = 0.0, all = 0.0;
      for (uint32_t p = 0; p <= r.position; ++p) {
        const auto* k = reinterpret_cast<const float*>(r.rows.k + p * r.rows.row_stride);
        const double w = std::exp(double{c_.attention_scale} * dot(r.q + g * padded, {k, k + c_.head_dim}));
        all += w, in += p < first || p >= end || p % 7 == 0 ? w : 0.0;
      }
      share += in / all, ++heads;
    }
    return n;
  }
  double share = 0.0;
  size_t heads = 0;

 private:
  const model::Config& c_;
};

TEST(Retrieval, MeasuresWhatShareOfAttentionItHolds) {
  const Opened o(tiny_with_codebooks());
  const auto tokens = some_tokens(400);
  auto options = selecting(0.05f, 399);
  options.measure = true;
  EverySeventh selector(*o.plan.config);
  options.selector = &selector;
  auto d = o.decoder(options);
  run(d, tokens, 399);
  ASSERT_EQ(d.retrieval_counts().weighed, selector.heads);
  EXPECT_NEAR(d.retrieval_counts().weight, selector.share, 1e-4 * selector.share);
  EXPECT_LT(selector.share, 0.9 * static_cast<double>(selector.heads));
  // Without a selector, and over all, nothing is missing.
  auto all = selecting(1.0f);
  all.measure = true;
  auto e = o.decoder(all);
  run(e, tokens, 390);
  EXPECT_NEAR(e.retrieval_counts().weight, static_cast<double>(e.retrieval_counts().weighed), 1e-3);
}

TEST(Retrieval, IdsAndLogitsDoNotDependOnThreadsNorChunks) {
  const auto tokens = some_tokens(212);
  const Opened one(tiny_with_codebooks(), 1), two(tiny_with_codebooks(), 2);
  auto a = one.decoder(selecting(0.1f), 64), b = two.decoder(selecting(0.1f), 64);
  EXPECT_EQ(run(a, tokens, 200), run(b, tokens, 200));
  // In chunks of another length keys themselves differ in the last bits.
  auto c = one.decoder(selecting(0.1f), 7);
  run(c, tokens, 200);
  size_t same = 0;
  for (uint32_t p = 0; p < tokens.size(); ++p) same += a.index().ids(0, 1)[p] == c.index().ids(0, 1)[p];
  EXPECT_GE(same + 2, tokens.size());
}

TEST(Retrieval, RewindingGoesBackToTheSameChoice) {
  const Opened o(tiny_with_codebooks());
  const auto tokens = some_tokens(300), other = some_tokens(80, 9);
  auto straight = o.decoder(selecting(0.1f)), back = o.decoder(selecting(0.1f));
  const auto expected = run(straight, tokens, 200);
  run(back, tokens, 200);
  back.rewind(220);
  decode(back, other);
  back.rewind(220);
  EXPECT_EQ(decode(back, std::span(tokens).subspan(220)), expected);
}

TEST(Retrieval, CopiesTakeTheIndexAlong) {
  const Opened o(tiny_with_codebooks());
  const auto tokens = some_tokens(300);
  auto a = o.decoder(selecting(0.1f)), b = o.decoder(selecting(0.1f)), plain = o.decoder({});
  run(a, tokens, 280);
  ASSERT_TRUE(b.copy_from(a).ok());
  EXPECT_EQ(decode(a, std::span(tokens).first(10)), decode(b, std::span(tokens).first(10)));
  ASSERT_TRUE(plain.copy_from(a).ok());
  const Status refused = b.copy_from(plain);
  EXPECT_THAT(refused.message(), HasSubstr("without a retrieval index"));
}

TEST(Retrieval, TheLastTokenOfAPromptAttendsToAllOfIt) {
  const Opened o(tiny_with_codebooks());
  const auto tokens = some_tokens(193);  // three chunks, and one of a single token
  auto dense = o.decoder({}), few = o.decoder(selecting(0.01f));
  ASSERT_TRUE(dense.forward(tokens).ok() && few.forward(tokens).ok());
  EXPECT_EQ(std::vector<float>(few.logits().begin(), few.logits().end()),
            std::vector<float>(dense.logits().begin(), dense.logits().end()));
  EXPECT_EQ(few.retrieval_counts().tokens, 0u);
}

TEST(Retrieval, BeginsWhereItWasTold) {
  const Opened o(tiny_with_codebooks());
  const auto tokens = some_tokens(200);
  auto dense = o.decoder({}), late = o.decoder(selecting(0.05f, 150));
  EXPECT_EQ(run(late, {tokens.begin(), tokens.begin() + 150}, 100),
            run(dense, {tokens.begin(), tokens.begin() + 150}, 100));
  EXPECT_EQ(late.retrieval_counts().tokens, 0u);
  decode(late, std::span(tokens).subspan(150));
  EXPECT_EQ(late.retrieval_counts().tokens, 50u);
  EXPECT_FALSE(o.decoder(selecting(0.05f, 1024)).has_index()) << "no context of this session is long enough";
  EXPECT_EQ(o.decoder(selecting(0.05f, 1024)).index_bytes(), 0u);
}

TEST(Retrieval, EveryInstructionSetSelectsAlike) {
  const auto tokens = some_tokens(260);
  const Opened best(tiny_with_codebooks()), scalar(tiny_with_codebooks(), 1, kIsaScalar);
  auto a = best.decoder(selecting(0.1f)), b = scalar.decoder(selecting(0.1f));
  run(a, tokens, 200), run(b, tokens, 200);
  size_t same = 0;
  for (uint32_t p = 0; p < tokens.size(); ++p)
    same += kv::centroid_of(a.index().ids(0, 0)[p]) == kv::centroid_of(b.index().ids(0, 0)[p]);
  EXPECT_GE(same + 2, tokens.size());
}

TEST(RetrievalSession, SwitchesAndCounts) {
  const Engine engine = make_engine(1);
  const Model model = load_model(engine, tiny_with_codebooks()), plain = load_model(engine, tiny_path());
  minnow_session_params p = minnow_session_params_default();
  EXPECT_EQ(p.retrieval, MINNOW_RETRIEVAL_AUTO);
  p.context = 1400, p.retrieval = MINNOW_RETRIEVAL_ON, p.retrieval_from = 100, p.retrieval_fraction = 0.05f;
  const auto create = [&](const Model& m) {
    minnow_session* s = nullptr;
    const minnow_status status = minnow_session_create(m.get(), &p, &s);
    return std::pair(status, Session(s));
  };
  EXPECT_EQ(create(plain).first, MINNOW_UNSUPPORTED);
  EXPECT_THAT(minnow_last_error(), HasSubstr("this model has no codebooks; make some with"));
  p.retrieval = MINNOW_RETRIEVAL_AUTO;
  EXPECT_EQ(create(plain).first, MINNOW_OK);
  for (const float wrong : {0.0f, -1.0f, 1.5f, NAN}) {
    p.retrieval_fraction = wrong;
    EXPECT_EQ(create(model).first, MINNOW_INVALID_ARGUMENT) << wrong;
  }
  p.retrieval_fraction = 0.05f;
  p.retrieval = static_cast<minnow_retrieval>(3);
  EXPECT_EQ(create(model).first, MINNOW_INVALID_ARGUMENT);
  p.retrieval = MINNOW_RETRIEVAL_AUTO;
  const Session s = create(model).second;
  ASSERT_NE(s, nullptr);
  const auto stats = [](const Session& of) {
    minnow_session_stats r{};
    r.struct_size = sizeof r;
    EXPECT_EQ(minnow_session_get_stats(of.get(), &r), MINNOW_OK);
    return r;
  };
  prefill(s, some_tokens(1300));
  EXPECT_EQ(stats(s).tokens_retrieved, 0u);
  EXPECT_EQ(stats(s).attended_fraction, 1.0);
  const uint64_t index = stats(s).index_bytes;
  // 3 layers, 2 KV heads: two bytes a position; of 64 centroids count, logarithm and means of 32 numbers;
  // counts of 64 levels
  EXPECT_GE(index, 3u * 2 * (1400 * 2 + 64 * (2 * 4 + 2 * 32 * 2) + 64 * 4));
  ASSERT_EQ(minnow_decode(s.get(), 5), MINNOW_OK);
  EXPECT_EQ(stats(s).tokens_retrieved, 1u);
  EXPECT_LT(stats(s).attended_fraction, 0.5);
  EXPECT_GT(stats(s).attended_fraction, 72.0 / 1301);
  const uint64_t selecting_bytes = stats(s).bytes_per_token;
  ASSERT_EQ(minnow_session_set_retrieval(s.get(), 0), MINNOW_OK);
  EXPECT_GT(stats(s).bytes_per_token, selecting_bytes);
  ASSERT_EQ(minnow_decode(s.get(), 6), MINNOW_OK);
  EXPECT_EQ(stats(s).tokens_retrieved, 1u);
  // A decoder made for scoring goes on as this one stood.
  float score = 0.0f;
  const int32_t token = 7;
  ASSERT_EQ(minnow_score(s.get(), &token, 1, &score), MINNOW_OK);
  EXPECT_EQ(stats(s).tokens_retrieved, 1u);
  ASSERT_EQ(minnow_session_set_retrieval(s.get(), 1), MINNOW_OK);
  minnow_session* forked = nullptr;
  ASSERT_EQ(minnow_session_fork(s.get(), &forked), MINNOW_OK);
  const Session fork(forked);
  ASSERT_EQ(minnow_decode(s.get(), 8), MINNOW_OK);
  ASSERT_EQ(minnow_decode(fork.get(), 8), MINNOW_OK);
  EXPECT_EQ(logits_of(s), logits_of(fork));
  ASSERT_EQ(minnow_session_set_retrieval(s.get(), 0), MINNOW_OK);
  ASSERT_EQ(minnow_session_fork(s.get(), &forked), MINNOW_OK);
  const Session dense_fork(forked);
  ASSERT_EQ(minnow_decode(dense_fork.get(), 9), MINNOW_OK);
  EXPECT_EQ(stats(dense_fork).tokens_retrieved, 0u) << "a fork goes on as its origin stood";
  EXPECT_EQ(stats(s).attended_weight, 1.0) << "nobody asked for it";
  p.retrieval = MINNOW_RETRIEVAL_ON, p.retrieval_measure = 1;
  const Session measured = create(model).second;
  prefill(measured, some_tokens(1300));
  ASSERT_EQ(minnow_decode(measured.get(), 5), MINNOW_OK);
  EXPECT_GT(stats(measured).attended_weight, stats(measured).attended_fraction);
  EXPECT_LT(stats(measured).attended_weight, 1.0);
  p.retrieval_measure = 0;
  p.retrieval = MINNOW_RETRIEVAL_OFF;
  const Session off = create(model).second;
  EXPECT_EQ(minnow_session_set_retrieval(off.get(), 1), MINNOW_UNSUPPORTED);
  EXPECT_THAT(minnow_last_error(), HasSubstr("keeps no retrieval index"));
}

TEST(RetrievalSession, ThePlanCountsTheIndex) {
  const Engine engine = make_engine(1);
  minnow_session_params p = minnow_session_params_default();
  p.context = 400, p.retrieval_from = 100;
  p.retrieval = MINNOW_RETRIEVAL_OFF;
  minnow_plan_report with{}, without{};
  with.struct_size = without.struct_size = sizeof with;
  ASSERT_EQ(minnow_plan(engine.get(), tiny_with_codebooks().c_str(), &p, 0, &without), MINNOW_OK);
  p.retrieval = MINNOW_RETRIEVAL_ON;
  ASSERT_EQ(minnow_plan(engine.get(), tiny_with_codebooks().c_str(), &p, 0, &with), MINNOW_OK);
  EXPECT_EQ(with.kv_cache - without.kv_cache, 3u * 2 * (400 * 2 + 64 * (2 * 4 + 2 * 32 * 2) + 64 * 4));
  EXPECT_GT(with.workspace, without.workspace);
}

class EveryFamilyRetrieves : public ::testing::TestWithParam<const char*> {};

TEST_P(EveryFamilyRetrieves, AndIsDenseWhenItTakesAll) {
  const WithCodebooks file(std::string(MINNOW_TEST_DATA "/arch/") + GetParam());
  const Opened o(file.path());
  size_t layers = 0;
  for (const auto& l : o.plan.layers) {
    layers += !l.centroid_bias.empty();
    EXPECT_TRUE(l.centroid_bias.empty() || l.weights->sliding_window == 0);
  }
  ASSERT_GT(layers, 0u);
  const auto context = std::min(200u, o.plan.config->max_context);
  const auto tokens = some_tokens(context - 10, 1, o.plan.config->vocab_size);
  auto dense = o.decoder({}, 64, kv::Type::f32, context),
       all = o.decoder(selecting(1.0f), 64, kv::Type::f32, context);
  auto few = o.decoder(selecting(0.02f), 64, kv::Type::f32, context);
  const auto expected = run(dense, tokens, tokens.size() - 20);
  EXPECT_LT(relative_difference(run(all, tokens, tokens.size() - 20), expected), 1e-4);
  EXPECT_LT(relative_difference(run(few, tokens, tokens.size() - 20), expected), INFINITY);
  EXPECT_LT(few.retrieval_counts().attended, few.retrieval_counts().seen);
}

INSTANTIATE_TEST_SUITE_P(Arch, EveryFamilyRetrieves,
                         ::testing::Values("llama-tied-gqa", "llama-rope3-bias", "gemma2", "gemma3",
                                           "granite", "olmo2", "opt", "phi", "phi3", "qwen2", "qwen3",
                                           "smollm3-nope"),
                         [](const auto& family) {
                           std::string name = family.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace minnow::testing
