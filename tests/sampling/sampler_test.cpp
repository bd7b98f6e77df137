#include "sampling/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace minnow::sampling {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

SamplerParams plain(float temperature = 1.0f) {
  SamplerParams p;
  p.temperature = temperature;
  p.top_k = 0;
  p.top_p = 1.0f;
  p.min_p = 0.0f;
  p.seed = 42;
  return p;
}

Sampler make(const SamplerParams& p, int32_t n) {
  auto s = Sampler::create(p, n);
  EXPECT_TRUE(s.ok()) << s.status().message();
  return std::move(s).value();
}

/// How often each token is drawn, as shares.
std::vector<double> shares(Sampler& s, const std::vector<float>& logits, int draws = 40000) {
  std::vector<double> n(logits.size());
  for (int i = 0; i < draws; ++i) n[static_cast<size_t>(*s.sample(logits))] += 1.0 / draws;
  return n;
}

TEST(Greedy, HighestAndLowestIdAmongEquals) {
  Sampler s = make(plain(0.0f), 4);
  EXPECT_EQ(*s.sample(std::vector<float>{1, 3, 3, 2}), 1);
  EXPECT_EQ(*s.sample(std::vector<float>{-kInf, -5, -kInf, -6}), 1);
}

TEST(Draws, FollowTheSoftmax) {
  const std::vector<float> logits = {0.0f, 1.0f, 2.0f, -1.0f};
  Sampler s = make(plain(), 4);
  const auto n = shares(s, logits);
  for (int32_t i = 0; i < 4; ++i)
    EXPECT_NEAR(n[static_cast<size_t>(i)], std::exp(log_softmax(logits, i)), 0.01) << i;
}

TEST(Draws, TemperatureFlattens) {
  const std::vector<float> logits = {0.0f, 2.0f};
  Sampler s = make(plain(2.0f), 2);
  EXPECT_NEAR(shares(s, logits)[1], 1.0 / (1.0 + std::exp(-1.0)), 0.01);
}

TEST(Draws, SameSeedSameTokens) {
  const std::vector<float> logits = {0.3f, 0.1f, 0.2f, 0.5f, -0.4f};
  Sampler a = make(plain(), 5), b = make(plain(), 5);
  std::vector<int32_t> first;
  for (int i = 0; i < 100; ++i) {
    first.push_back(*a.sample(logits));
    EXPECT_EQ(first.back(), *b.sample(logits));
  }
  a.reset();
  for (const int32_t id : first) EXPECT_EQ(*a.sample(logits), id);
}

TEST(Rng, IsPinned) {
  // These values are the contract: they must be the same on every platform and in every version.
  Rng r(42);
  const uint32_t first = r.next(), second = r.next();
  Rng again(42);
  EXPECT_EQ(again.next(), first);
  EXPECT_EQ(again.next(), second);
  EXPECT_EQ(first, 1768956483u);
  EXPECT_EQ(second, 4001043839u);
  double sum = 0;
  for (int i = 0; i < 100000; ++i) {
    const double u = r.uniform();
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
  }
  EXPECT_NEAR(sum / 100000, 0.5, 0.005);
}

TEST(Filters, TopK) {
  SamplerParams p = plain();
  p.top_k = 2;
  Sampler s = make(p, 4);
  const auto n = shares(s, {1.0f, 3.0f, 2.0f, 2.0f});
  EXPECT_EQ(n[0], 0.0);
  EXPECT_EQ(n[3], 0.0);  // of equals the lower id stays
  EXPECT_NEAR(n[1], 1.0 / (1.0 + std::exp(-1.0)), 0.01);
}

TEST(Filters, TopP) {
  SamplerParams p = plain();
  p.top_p = 0.7f;
  Sampler s = make(p, 3);
  // Shares 0.6, 0.3, 0.1: the first two are needed to hold 0.7.
  const std::vector<float> logits = {std::log(0.6f), std::log(0.3f), std::log(0.1f)};
  const auto n = shares(s, logits);
  EXPECT_NEAR(n[0], 2.0 / 3.0, 0.01);
  EXPECT_EQ(n[2], 0.0);
  p.top_p = 1e-6f;
  Sampler one = make(p, 3);
  EXPECT_EQ(*one.sample(logits), 0);
}

TEST(Filters, MinP) {
  SamplerParams p = plain();
  p.min_p = 0.4f;
  Sampler s = make(p, 3);
  const auto n = shares(s, {std::log(0.6f), std::log(0.3f), std::log(0.1f)});
  EXPECT_NEAR(n[0], 2.0 / 3.0, 0.01);
  EXPECT_EQ(n[2], 0.0);
}

TEST(Filters, TopPCountsAllThatTopKLeft) {
  // Top-k first: of 0.5, 0.3, 0.2 two stay, as 0.625 and 0.375; 0.6 is then held by the first alone.
  SamplerParams p = plain();
  p.top_k = 2;
  p.top_p = 0.6f;
  Sampler s = make(p, 3);
  EXPECT_NEAR(shares(s, {std::log(0.5f), std::log(0.3f), std::log(0.2f)}, 500)[0], 1.0, 1e-9);
}

TEST(Penalties, RepetitionDividesOrMultiplies) {
  SamplerParams p = plain(0.0f);
  p.repetition_penalty = 2.0f;
  Sampler s = make(p, 3);
  s.accept(0);
  EXPECT_EQ(*s.sample(std::vector<float>{3, 2, 0}), 1);        // 3 / 2 < 2
  EXPECT_EQ(*s.sample(std::vector<float>{-1, -1.5f, -9}), 1);  // -1 * 2 < -1.5
}

TEST(Penalties, PresenceOnceFrequencyEachTime) {
  SamplerParams p = plain(0.0f);
  p.presence_penalty = 1.0f;
  Sampler presence = make(p, 2);
  for (int i = 0; i < 5; ++i) presence.accept(0);
  EXPECT_EQ(*presence.sample(std::vector<float>{2.5f, 1.0f}), 0);
  EXPECT_EQ(*presence.sample(std::vector<float>{1.5f, 1.0f}), 1);
  p.presence_penalty = 0.0f;
  p.frequency_penalty = 1.0f;
  Sampler frequency = make(p, 2);
  for (int i = 0; i < 5; ++i) frequency.accept(0);
  EXPECT_EQ(*frequency.sample(std::vector<float>{5.5f, 1.0f}), 1);
}

TEST(Penalties, OnlyTheWindowCounts) {
  SamplerParams p = plain(0.0f);
  p.presence_penalty = 10.0f;
  p.penalty_window = 2;
  Sampler s = make(p, 4);
  s.accept(0);
  EXPECT_EQ(*s.sample(std::vector<float>{2, 1, 0, 0}), 1);
  s.accept(3);
  s.accept(3);
  EXPECT_EQ(*s.sample(std::vector<float>{2, 1, 0, 0}), 0);  // token 0 has left the window
  s.reset();
  EXPECT_EQ(*s.sample(std::vector<float>{0, 0, 0, 1}), 3);
  s.accept(-1);
  s.accept(100);  // ids outside do nothing
  EXPECT_EQ(*s.sample(std::vector<float>{0, 0, 0, 1}), 3);
}

TEST(Bias, AddsAndBans) {
  SamplerParams p = plain(0.0f);
  p.logit_bias = {{0, -kInf}, {2, 5.0f}};
  Sampler s = make(p, 3);
  EXPECT_EQ(*s.sample(std::vector<float>{9, 1, 0}), 2);
  SamplerParams q = plain();
  q.logit_bias = {{0, -kInf}};
  Sampler t = make(q, 3);
  EXPECT_EQ(shares(t, {9, 1, 0}, 1000)[0], 0.0);
}

TEST(Errors, BadLogitsAreReported) {
  for (const float temperature : {0.0f, 1.0f}) {
    Sampler s = make(plain(temperature), 3);
    EXPECT_EQ(s.sample(std::vector<float>{0, kNan, 0}).status().code(), Code::internal);
    EXPECT_EQ(s.sample(std::vector<float>{0, kInf, 0}).status().code(), Code::internal);
    EXPECT_EQ(s.sample(std::vector<float>{-kInf, -kInf, -kInf}).status().code(), Code::internal);
    EXPECT_EQ(s.sample(std::vector<float>{0, 0}).status().code(), Code::invalid_argument);
    EXPECT_TRUE(s.sample(std::vector<float>{0, 0, 0}).ok());
  }
}

TEST(Errors, BadParamsAreNamed) {
  struct Case {
    const char* says;
    void (*apply)(SamplerParams&);
  };
  const Case cases[] = {
      {"temperature", [](auto& p) { p.temperature = -1; }},
      {"temperature", [](auto& p) { p.temperature = kNan; }},
      {"temperature", [](auto& p) { p.temperature = kInf; }},
      {"top_k", [](auto& p) { p.top_k = -1; }},
      {"top_p", [](auto& p) { p.top_p = 0; }},
      {"top_p", [](auto& p) { p.top_p = 1.5f; }},
      {"min_p", [](auto& p) { p.min_p = kNan; }},
      {"repetition_penalty", [](auto& p) { p.repetition_penalty = 0; }},
      {"presence_penalty", [](auto& p) { p.presence_penalty = kInf; }},
      {"frequency_penalty", [](auto& p) { p.frequency_penalty = kNan; }},
      {"penalty_window", [](auto& p) { p.penalty_window = -1; }},
      {"logit_bias",
       [](auto& p) {
         p.logit_bias = {{10, 0.0f}};
       }},
      {"logit_bias",
       [](auto& p) {
         p.logit_bias = {{-1, 0.0f}};
       }},
      {"logit_bias",
       [](auto& p) {
         p.logit_bias = {{1, kNan}};
       }},
  };
  for (const Case& c : cases) {
    SamplerParams p = plain();
    c.apply(p);
    const auto s = Sampler::create(p, 10);
    EXPECT_EQ(s.status().code(), Code::invalid_argument) << c.says;
    EXPECT_NE(s.status().message().find(c.says), std::string::npos) << s.status().message();
  }
  EXPECT_FALSE(Sampler::create(plain(), 0).ok());
}

TEST(LogSoftmax, SumsToOneAndSurvivesExtremes) {
  const std::vector<float> logits = {1e30f, 1e30f, -1e30f};
  EXPECT_NEAR(log_softmax(logits, 0), std::log(0.5), 1e-12);
  EXPECT_EQ(log_softmax(std::vector<float>{0, -kInf}, 1), -kInf);
  EXPECT_TRUE(std::isnan(log_softmax(std::vector<float>{0, kNan}, 0)));
  EXPECT_TRUE(std::isnan(log_softmax(logits, 3)));
  std::vector<float> many(1000);
  for (size_t i = 0; i < many.size(); ++i) many[i] = static_cast<float>(i % 17);
  double sum = 0;
  for (int32_t i = 0; i < 1000; ++i) sum += std::exp(log_softmax(many, i));
  EXPECT_NEAR(sum, 1.0, 1e-12);
}

}  // namespace
}  // namespace minnow::sampling
