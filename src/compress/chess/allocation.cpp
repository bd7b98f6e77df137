#include "compress/chess/allocation.h"

#include <algorithm>
#include <cmath>

namespace minnow::compress {

// Choice i leaves out the i lowest buckets; of a table, choice g * (products + 1) + p those of the g lowest
// gate buckets and, of the others, those of the p lowest products.

Menu::Menu(const Histogram& h, uint64_t weights, double sensitivity, const LeastShares& least) {
  const auto samples = static_cast<double>(std::max<uint64_t>(h.total(), 1));
  uint64_t count = 0;
  double cost = 0.0;
  for (uint32_t b = 0; b <= h.size(); ++b) {
    const double share = static_cast<double>(count) / samples;
    saved_.push_back(static_cast<float>(share < least.inputs ? 0.0 : share * static_cast<double>(weights)));
    cost_.push_back(static_cast<float>(cost / samples * sensitivity));
    if (b < h.size()) count += h.counts[b], cost += h.costs[b];
  }
}

Menu::Menu(const GateTable& t, uint64_t weights, double sensitivity, const LeastShares& least) {
  constexpr uint32_t kGates = GateTable::kGateBuckets, kProducts = GateTable::kProductBuckets;
  const auto samples = static_cast<double>(std::max<uint64_t>(t.total, 1));
  // What is left at each product once the gates below are gone.
  std::vector<double> count(kProducts), cost(kProducts);
  for (uint32_t g = 0; g < kGates; ++g) {
    for (uint32_t p = 0; p < kProducts; ++p) {
      count[p] += t.counts[size_t{g} * kProducts + p];
      cost[p] += t.costs[size_t{g} * kProducts + p];
    }
  }
  double gate_count = 0.0, gate_cost = 0.0;
  const auto saved = [&](double left_out, double from) {
    const double share = left_out / samples;
    return share < from ? 0.0 : share * static_cast<double>(weights);
  };
  for (uint32_t g = 0; g <= kGates; ++g) {
    double products = 0.0, product_cost = 0.0;
    for (uint32_t p = 0; p <= kProducts; ++p) {
      // Rows of up go with gates; inputs of down with both.
      saved_.push_back(
          static_cast<float>(saved(gate_count, least.rows) + saved(gate_count + products, least.inputs)));
      cost_.push_back(static_cast<float>((gate_cost + product_cost) / samples * sensitivity));
      if (p < kProducts) products += count[p], product_cost += cost[p];
    }
    if (g == kGates) break;
    for (uint32_t p = 0; p < kProducts; ++p) {
      const size_t at = size_t{g} * kProducts + p;
      gate_count += t.counts[at], gate_cost += t.costs[at];
      count[p] -= t.counts[at], cost[p] -= t.costs[at];
    }
  }
}

Menu::Choice Menu::best(double price) const {
  Choice best;
  double least = 0.0;  // choice 0 leaves nothing out
  for (size_t i = 0; i < saved_.size(); ++i) {
    const double value = cost_[i] - price * saved_[i];
    if (value < least) least = value, best = {static_cast<uint32_t>(i), saved_[i], cost_[i]};
  }
  return best;
}

std::vector<Menu::Choice> spend(const std::vector<Menu>& menus, double wanted) {
  std::vector<Menu::Choice> out(menus.size());
  if (wanted <= 0.0) return out;
  // The price at which enough is left out: by bisection of its logarithm.
  double low = -100.0, high = 40.0;
  for (int round = 0; round < 48; ++round) {
    const double middle = 0.5 * (low + high);
    double saved = 0.0;
    for (size_t i = 0; i < menus.size(); ++i) saved += menus[i].best(std::exp2(middle)).saved;
    (saved < wanted ? low : high) = middle;
  }
  // What changes between the two prices is worth the same to the last bit, so only as much of it is taken as
  // is wanted: where little counts as nothing, one menu may jump by half of its weights.
  double saved = 0.0;
  for (size_t i = 0; i < menus.size(); ++i) {
    out[i] = menus[i].best(std::exp2(low));
    saved += out[i].saved;
  }
  for (size_t i = 0; i < menus.size() && saved < wanted; ++i) {
    saved -= out[i].saved;
    out[i] = menus[i].best(std::exp2(high));
    saved += out[i].saved;
  }
  return out;
}

GateCuts cuts_of(const GateTable& t, uint32_t choice) {
  constexpr uint32_t kProducts = GateTable::kProductBuckets;
  const uint32_t g = choice / (kProducts + 1), p = choice % (kProducts + 1);
  return {g == 0 ? 0.0f : t.gate.edge(g - 1), p == 0 ? 0.0f : t.product.edge(p - 1)};
}

}  // namespace minnow::compress
