// Which keys query heads want: against sorting all of them.
#include "exec/selection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>
#include <vector>

#include "base/cpu.h"
#include "kv/index.h"

namespace minnow::testing {
namespace {

using exec::HeadBudget;
using exec::Wanted;

HeadBudget exactly(uint32_t keys) {
  return {keys, keys, INFINITY};
}

struct Case {
  size_t centroids;
  uint32_t bands;                          // of as many keys each, the last one first
  std::vector<uint16_t> ids;               // of keys
  std::vector<uint32_t> counts;            // of cells
  std::vector<std::vector<float>> scores;  // of heads

  size_t first_of(uint32_t band) const { return ids.size() * (bands - 1 - band) / bands; }
  size_t cell(size_t key) const {
    uint32_t band = 0;
    while (key < first_of(band)) ++band;
    return band * centroids + kv::centroid_of(ids[key]);
  }
};

Case random_case(size_t centroids, size_t keys, size_t heads, uint32_t seed, uint32_t bands = 1) {
  std::mt19937 rng(seed);
  Case c{centroids, bands, std::vector<uint16_t>(keys), std::vector<uint32_t>(bands * centroids), {}};
  for (uint16_t& id : c.ids)
    id = static_cast<uint16_t>(std::min(rng() % centroids, rng() % centroids));  // some have many
  for (size_t i = 0; i < keys; ++i) ++c.counts[c.cell(i)];
  std::normal_distribution<float> normal;
  for (size_t h = 0; h < heads; ++h) {
    c.scores.emplace_back(c.counts.size());
    for (float& s : c.scores.back()) s = std::round(8.0f * normal(rng)) / 4.0f;  // ties
  }
  return c;
}

/// The first `most` keys by score, by number of cell where scores are equal, the latest first in a cell.
std::set<uint32_t> best_keys(const Case& c, size_t head, size_t most) {
  std::vector<uint32_t> keys(c.ids.size());
  for (size_t i = 0; i < keys.size(); ++i) keys[i] = static_cast<uint32_t>(i);
  std::sort(keys.begin(), keys.end(), [&](uint32_t a, uint32_t b) {
    const float x = c.scores[head][c.cell(a)], y = c.scores[head][c.cell(b)];
    if (x != y) return x > y;
    if (c.cell(a) != c.cell(b)) return c.cell(a) < c.cell(b);
    return a > b;
  });
  return {keys.begin(), keys.begin() + static_cast<long>(std::min(most, keys.size()))};
}

std::vector<uint32_t> selected(const Case& c, const HeadBudget& budget, uint16_t above = 0xffff) {
  std::vector<uint64_t> ranks(c.counts.size());
  std::vector<uint32_t> cells(c.counts.size() + kAtLeastSlack);
  const AtLeastFn at_least = select_at_least(AtLeastOp::at_least_u32_f32, detect_isa())->fn;
  Wanted wanted(at_least, c.bands, c.centroids, {ranks.data(), cells.data()});
  for (const auto& s : c.scores) wanted.add(s.data(), c.counts.data(), budget);
  std::vector<uint32_t> all;
  for (uint32_t band = c.bands; band-- > 0;) {
    std::vector<uint32_t> list;
    const size_t end = band == 0 ? c.ids.size() : c.first_of(band - 1);
    for (size_t i = c.first_of(band); i < end; ++i) {
      const uint16_t id = kv::centroid_of(c.ids[i]);
      if (c.ids[i] > above || (wanted.bits(band)[id / 32] >> (id % 32) & 1) != 0)
        list.push_back(static_cast<uint32_t>(i));
    }
    list.resize(wanted.trim(band, c.ids.data(), above, list.data(), list.size()));
    all.insert(all.end(), list.begin(), list.end());
  }
  std::vector<uint32_t> taken(c.counts.size());
  for (const uint32_t i : all) ++taken[c.cell(i)];
  for (size_t i = 0; i < taken.size(); ++i) EXPECT_EQ(wanted.taken(i), taken[i]) << i;
  return all;
}

TEST(Selection, OneHeadTakesExactlyItsBestKeys) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    const Case c = random_case(seed % 2 == 0 ? 64 : 1024, 3000, 1, seed, 1 + seed % exec::kMostBands);
    for (const uint32_t most : {0u, 1u, 17u, 300u, 2999u, 3000u, 9999u}) {
      const auto list = selected(c, exactly(most));
      const auto best = best_keys(c, 0, most);
      EXPECT_EQ(std::set<uint32_t>(list.begin(), list.end()), best) << seed << " " << most;
      EXPECT_TRUE(std::is_sorted(list.begin(), list.end()));
    }
  }
}

TEST(Selection, TakesWhatScoresEnoughBetweenItsBounds) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    const Case c = random_case(seed % 2 == 0 ? 64 : 1024, 3000, 1, seed, 1 + seed % exec::kMostBands);
    for (const float score : {-INFINITY, -1.0f, 0.25f, 1.0f, 3.0f, INFINITY, NAN}) {
      uint32_t enough = 0;
      for (size_t i = 0; i < c.ids.size(); ++i) enough += c.scores[0][c.cell(i)] >= score;
      for (const auto& [least, most] : {std::pair(0u, 3000u), {100u, 500u}, {0u, 40u}, {700u, 2000u}}) {
        const auto list = selected(c, {least, most, score});
        EXPECT_EQ(std::set<uint32_t>(list.begin(), list.end()),
                  best_keys(c, 0, std::clamp(enough, least, most)))
            << seed << " " << score << " " << least << " " << most;
      }
    }
  }
}

TEST(Selection, AGroupTakesTheUnionOfItsHeads) {
  for (uint32_t seed = 0; seed < 10; ++seed) {
    const Case c = random_case(256, 5000, 5, seed, 1 + seed % exec::kMostBands);
    const uint32_t most = 100;
    const auto list = selected(c, exactly(most));
    std::set<uint32_t> all;
    for (size_t h = 0; h < c.scores.size(); ++h) all.merge(best_keys(c, h, most));
    EXPECT_EQ(std::set<uint32_t>(list.begin(), list.end()), all) << seed;
    EXPECT_GE(list.size(), most);
    EXPECT_LE(list.size(), most * c.scores.size());
  }
}

TEST(Selection, ScoresThatAreNotNumbersComeLast) {
  Case c = random_case(64, 1000, 1, 3);
  c.scores[0][7] = NAN;
  c.scores[0][8] = NAN;
  const auto list = selected(c, exactly(1000 - c.counts[7] - c.counts[8]));
  for (const uint32_t i : list) EXPECT_TRUE(c.ids[i] != 7 && c.ids[i] != 8);
  EXPECT_EQ(list.size(), 1000 - c.counts[7] - c.counts[8]);
  std::fill(c.scores[0].begin(), c.scores[0].end(), NAN);
  EXPECT_EQ(selected(c, exactly(10)).size(), 10u);
  EXPECT_EQ(selected(c, {0, 10, -INFINITY}).size(), 0u);  // no score of theirs is high enough
}

TEST(Selection, TakesKeysOfHighLevelsBesideThoseOfItsCentroids) {
  for (uint32_t seed = 0; seed < 10; ++seed) {
    Case c = random_case(256, 5000, 3, seed, 1 + seed % exec::kMostBands);
    const auto best = selected(c, exactly(100));
    std::vector<uint32_t> levels(kv::kLevels);
    std::mt19937 rng(seed);
    for (uint16_t& id : c.ids) {
      const auto level = static_cast<uint32_t>(std::min({rng() % 64, rng() % 64, rng() % 64}));
      ++levels[level], id |= static_cast<uint16_t>(level << kv::kCentroidBits);
    }
    for (const uint32_t most : {0u, 50u, 400u, 5000u}) {
      const uint16_t above = exec::above_most(levels.data(), most);
      std::vector<uint32_t> far;
      for (uint32_t i = 0; i < c.ids.size(); ++i) {
        if (c.ids[i] > above) far.push_back(i);
      }
      EXPECT_LE(far.size(), most);
      const uint32_t next = kv::level_of(above);  // the first that no longer fits, whole
      EXPECT_TRUE(next == 0 || far.size() + levels[next] > most) << seed << " " << most;
      // Of a centroid whose latest keys are taken, those of high levels do not count.
      const auto list = selected(c, exactly(100), above);
      EXPECT_TRUE(std::includes(list.begin(), list.end(), far.begin(), far.end()));
      EXPECT_TRUE(!far.empty() || list == best);
      EXPECT_GE(list.size(), best.size());
    }
  }
}

TEST(RetrievalIndex, CopiesAndForgets) {
  auto index = std::move(kv::Index::create({2, 3, 100, 16, 32})).value();
  for (uint32_t p = 0; p < 100; ++p) index.ids(1, 2)[p] = static_cast<uint16_t>(p * 7 % 16);
  index.levels(1, 2)[63] = 9;
  index.counts(1, 2)[5] = 3, index.mean_values(1, 2)[5 * 32 + 1] = 77;
  index.set_counted(30);
  auto copy = std::move(kv::Index::create({2, 3, 200, 16, 32, 3})).value();
  copy.counts(1, 2)[16] = 4;  // of a band that the other does not have
  copy.set_counted(20);
  copy.copy_from(index, 100);
  EXPECT_TRUE(std::equal(index.ids(1, 2), index.ids(1, 2) + 100, copy.ids(1, 2)));
  EXPECT_EQ(copy.counted(), 30u);
  EXPECT_EQ(copy.counts(1, 2)[5], 3u);
  EXPECT_EQ(copy.counts(1, 2)[16], 0u);
  EXPECT_EQ(copy.levels(1, 2)[63], 9u);
  EXPECT_EQ(copy.mean_values(1, 2)[5 * 32 + 1], 77u);
  copy.copy_from(index, 29);  // more was counted than is taken over
  EXPECT_EQ(copy.counted(), 0u);
  EXPECT_EQ(copy.counts(1, 2)[5], 0u);
  EXPECT_EQ(copy.levels(1, 2)[63], 0u);
  index.forget_counts();
  EXPECT_EQ(index.counted(), 0u);
  EXPECT_EQ(index.counts(1, 2)[5], 0u);
}

}  // namespace
}  // namespace minnow::testing
