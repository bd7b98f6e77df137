// Keys that are attended to because they lie far from their centroids (docs/retrieval.md).
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>
#include <vector>

#include "exec/bands.h"
#include "support/codebooks.h"
#include "support/selecting.h"

namespace minnow::testing {
namespace {

/// Of every KV head that has codebooks, what a decoder's far keys' levels are.
std::vector<std::vector<uint32_t>> far_levels(const Opened& o, const exec::Decoder& d) {
  std::vector<std::vector<uint32_t>> levels;
  for (uint32_t l = 0; l < o.plan.layers.size(); ++l) {
    for (uint32_t h = 0; h < o.plan.layers[l].centroid_bias.size(); ++h) {
      const uint16_t* ids = d.index().ids(l, h);
      auto& of_head = levels.emplace_back();
      for (uint32_t p = exec::kSinks; p < exec::far_end(d.position() - 1); ++p)
        of_head.push_back(kv::level_of(ids[p]));
    }
  }
  return levels;
}

/// The n-th largest of all, from 0.
uint32_t nth_largest(const std::vector<std::vector<uint32_t>>& levels, size_t n) {
  std::vector<uint32_t> all;
  for (const auto& l : levels) all.insert(all.end(), l.begin(), l.end());
  std::sort(all.begin(), all.end(), std::greater<>());
  return all[n];
}

/// Positions of a head's keys of this level or a higher one.
std::vector<uint32_t> of_level(const std::vector<uint32_t>& levels, uint32_t least) {
  std::vector<uint32_t> out;
  for (uint32_t i = 0; i < levels.size(); ++i) {
    if (levels[i] >= least) out.push_back(exec::kSinks + i);
  }
  return out;
}

TEST(Outliers, KeysFarFromTheirCentroidsAreAlwaysAmongThem) {
  const Opened o(tiny_with_codebooks());
  const auto tokens = some_tokens(400);
  auto options = selecting(0.01f);
  options.outliers = 0.1f, options.few_outliers = 0, options.most_outliers = 1.0f;
  auto d = o.decoder(options);
  run(d, tokens, 399);
  const auto levels = far_levels(o, d);
  const size_t heads = o.plan.config->kv_head_count, first = levels.size() - heads;  // of the last layer
  const uint32_t least = nth_largest(levels, 40 * levels.size()) + 1;                // 40 of 400 a head fit
  size_t wanted = 0;
  std::set<size_t> of_heads;
  for (size_t place = 0; place < levels.size(); ++place) {
    const auto far = of_level(levels[place], least);
    wanted += far.size(), of_heads.insert(far.size());
    if (place < first) continue;
    const auto list = positions(d, static_cast<uint32_t>(place - first));
    EXPECT_TRUE(std::includes(list.begin(), list.end(), far.begin(), far.end()));
    EXPECT_LE(list.size(), exec::kSinks + exec::kWindow + far.size() + 4 * o.plan.config->group_size());
  }
  EXPECT_GT(wanted, 20 * levels.size());
  EXPECT_GT(of_heads.size(), 1u) << "each head has as many: there is nothing to test";
}

TEST(Outliers, NoHeadHasMoreKeysFarFromTheirCentroidsThanItMay) {
  const Opened o(tiny_with_codebooks());
  const auto tokens = some_tokens(400);
  auto options = selecting(0.01f);
  options.outliers = 0.2f, options.few_outliers = 0, options.most_outliers = 0.05f;
  auto d = o.decoder(options);
  run(d, tokens, 399);
  const auto levels = far_levels(o, d);
  const size_t heads = o.plan.config->kv_head_count;
  const uint32_t least = nth_largest(levels, 80 * levels.size()) + 1;  // 80 of 400 a head would fit
  for (uint32_t h = 0; h < heads; ++h) {
    const auto& of_head = levels[levels.size() - heads + h];
    const auto far = of_level(of_head, std::max(least, nth_largest({of_head}, 20) + 1));  // 20 of 400 fit
    const auto list = positions(d, h);
    EXPECT_TRUE(std::includes(list.begin(), list.end(), far.begin(), far.end()));
    EXPECT_LE(list.size(), exec::kSinks + exec::kWindow + 20 + 4 * o.plan.config->group_size());
    EXPECT_LT(far.size(), of_level(of_head, least).size()) << "it may have all: there is nothing to test";
  }
}

TEST(Outliers, ShortTextsHaveAsManyKeysFarFromTheirCentroids) {
  const Opened o(tiny_with_codebooks());
  const auto tokens = some_tokens(400);
  auto options = selecting(0.01f);
  options.most_outliers = 1.0f;
  const auto attended = [&](float share, uint32_t few) {
    options.outliers = share, options.few_outliers = few;
    auto d = o.decoder(options);
    run(d, tokens, 399);
    return positions(d, 0);
  };
  EXPECT_EQ(attended(0.01f, 40), attended(0.1f, 0));
  EXPECT_EQ(attended(0.1f, 20), attended(0.1f, 0));
  EXPECT_GT(attended(0.01f, 40).size(), attended(0.01f, 0).size());
  EXPECT_EQ(attended(0.0f, 40), attended(0.0f, 0)) << "none are wanted";
}

}  // namespace
}  // namespace minnow::testing
