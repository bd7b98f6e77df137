// One budget of weights for many matrices: what is wanted is left out, where it costs least, and never less
// of a matrix than counts.
#include "compress/chess/allocation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace minnow::testing {
namespace {

using namespace compress;

constexpr uint64_t kWeights = 1000;

/// Effects of inputs between 2^-8 and 1, `skew` of them crowded towards the small end.
Histogram effects(std::mt19937& random, double skew) {
  Histogram h(64);
  for (int i = 0; i < 20000; ++i) {
    const double u = std::uniform_real_distribution<double>()(random);
    const auto size = static_cast<float>(std::exp2(-8.0 * std::pow(u, skew)));
    h.add(size, double{size} * size);
  }
  return h;
}

struct Total {
  double saved = 0.0, cost = 0.0;
};

Total total(const std::vector<Menu::Choice>& choices) {
  Total t;
  for (const Menu::Choice& c : choices) t.saved += c.saved, t.cost += c.cost;
  return t;
}

TEST(SparsityAllocation, LeavesOutWhatIsWantedForLessThanEvenSharesCost) {
  std::mt19937 random(1);
  std::vector<Menu> menus;
  double even = 0.0;
  for (int i = 0; i < 12; ++i) {
    const Histogram h = effects(random, 0.5 + 0.1 * i);
    const double sensitivity = std::exp2(i % 5);
    menus.emplace_back(h, kWeights, sensitivity, LeastShares{});
    uint64_t count = 0;
    for (uint32_t b = 0; b < h.size() && 2 * count < h.total(); ++b)
      count += h.counts[b], even += h.costs[b] / static_cast<double>(h.total()) * sensitivity;
  }
  const Total t = total(spend(menus, 0.5 * 12 * kWeights));
  EXPECT_GE(t.saved, 0.5 * 12 * kWeights * (1 - 1e-5));
  EXPECT_LE(t.saved, 0.5 * 12 * kWeights + 0.1 * kWeights);
  EXPECT_LT(t.cost, even);
}

TEST(SparsityAllocation, AMatrixLeavesOutTheLeastThatCountsOrNothing) {
  std::mt19937 random(2);
  for (const double least : {0.25, 0.45, 0.7}) {
    // Three kinds of four alike: those of a kind tie at every price, and must not all be taken for one's
    // sake.
    const Histogram h = effects(random, 1.0);
    std::vector<Menu> menus;
    for (int i = 0; i < 12; ++i) menus.emplace_back(h, kWeights, std::exp2(i / 4), LeastShares{0.0, least});
    const double wanted = 0.3 * 12 * kWeights;
    const std::vector<Menu::Choice> choices = spend(menus, wanted);
    for (const Menu::Choice& c : choices) {
      EXPECT_TRUE(c.index == 0 || c.saved >= (least - 1e-6) * kWeights) << c.saved << " at " << least;
    }
    // Only the last matrix that was taken may overshoot.
    EXPECT_GE(total(choices).saved, wanted * (1 - 1e-5));
    EXPECT_LE(total(choices).saved, wanted + kWeights);
  }
}

TEST(SparsityAllocation, LittleOfAGateCountsAsNothingThoughItsProductsCount) {
  GateTable t;
  t.counts.assign(size_t{GateTable::kGateBuckets} * GateTable::kProductBuckets, 0);
  t.costs.assign(t.counts.size(), 0.0);
  // A tenth of the gates is nearly closed; of the others, two thirds have small products.
  const auto put = [&](float gate, float product, uint32_t count) {
    const size_t at = size_t{t.gate.bucket(gate)} * GateTable::kProductBuckets + t.product.bucket(product);
    t.counts[at] += count, t.costs[at] += double{product} * product * count;
    t.total += count;
  };
  put(0.01f, 0.001f, 100), put(1.0f, 0.002f, 600), put(1.0f, 1.0f, 300);
  const Menu open(t, kWeights, 1.0, {}), aware(t, kWeights, 1.0, {0.25, 0.45});
  constexpr double kPrice = 1e-6;  // above what the small ones cost, below what the large ones do
  EXPECT_NEAR(open.best(kPrice).saved, 0.1 * kWeights + 0.7 * kWeights, 1.0);  // rows of up, inputs of down
  EXPECT_NEAR(aware.best(kPrice).saved, 0.7 * kWeights, 1.0);                  // inputs of down alone
}

TEST(SparsityAllocation, NothingWantedIsNothingLeftOut) {
  std::mt19937 random(3);
  const std::vector<Menu> menus{Menu(effects(random, 1.0), kWeights, 1.0, {0.6, 0.45})};
  EXPECT_EQ(total(spend(menus, 0.0)).saved, 0.0);
}

}  // namespace
}  // namespace minnow::testing
