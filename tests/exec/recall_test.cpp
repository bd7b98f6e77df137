// How many of the keys with the best true scores a session's choice holds, layer by layer (A2ATS acceptance
// test 6).
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "base/checked.h"
#include "exec/retrieval.h"
#include "support/codebooks.h"
#include "support/selecting.h"

namespace minnow::testing {
namespace {

/// What a decoder attended to for its last token: [layer][KV head][position].
struct Lists : exec::Probe {
  Lists(size_t layers, size_t kv_heads) : of(layers, std::vector<std::vector<uint32_t>>(kv_heads)) {}
  void see(uint32_t layer, Place place, const float*, size_t, size_t) override {
    if (place != Place::attention_out || decoder == nullptr) return;
    for (uint32_t h = 0; h < of[layer].size(); ++h) of[layer][h] = positions(*decoder, h);
  }
  const exec::Decoder* decoder = nullptr;
  std::vector<std::vector<std::vector<uint32_t>>> of;
};

/// Takes what another decoder took for this token, and counts how many of each head's best keys are among it.
class Recall : public exec::Selector {
 public:
  Recall(const model::Config& c, const Lists& taken, float fraction)
      : found(taken.of.size()),
        best(taken.of.size()),
        listed(taken.of.size()),
        far(taken.of.size()),
        c_(c),
        taken_(taken),
        fraction_(fraction) {}
  size_t select(const Request& r, uint32_t first, uint32_t end, uint32_t* list) override {
    const auto& all = taken_.of[r.layer][r.kv_head];
    const size_t n = static_cast<size_t>(
        std::copy_if(all.begin(), all.end(), list, [&](uint32_t p) { return p >= first && p < end; }) - list);
    const size_t padded = round_up(size_t{c_.head_dim}, size_t{32});
    const auto k = static_cast<long>(fraction_ * static_cast<float>(r.position + 1));
    for (size_t g = 0; g < c_.group_size(); ++g) {
      std::vector<uint32_t> order(end - first);
      std::iota(order.begin(), order.end(), first);
      std::vector<double> scores(end);
      for (const uint32_t p : order) {
        const auto* key = reinterpret_cast<const float*>(r.rows.k + p * r.rows.row_stride);
        for (size_t i = 0; i < c_.head_dim; ++i) scores[p] += double{r.q[g * padded + i]} * key[i];
      }
      std::partial_sort(order.begin(), order.begin() + k, order.end(),
                        [&](uint32_t a, uint32_t b) { return scores[a] > scores[b]; });
      for (long i = 0; i < k; ++i) found[r.layer] += std::binary_search(list, list + n, order[size_t(i)]);
      best[r.layer] += static_cast<size_t>(k);
    }
    listed[r.layer] += n, far[r.layer] += end - first;
    return n;
  }

  std::vector<size_t> found, best, listed, far;  // of a layer, all heads together

 private:
  const model::Config& c_;
  const Lists& taken_;
  float fraction_;
};

TEST(Retrieval, RecallsKeysOfTheBestTrueScoresInEveryLayer) {
  const Opened o(tiny_with_codebooks());
  const model::Config& c = *o.plan.config;
  const auto tokens = some_tokens(700);
  auto options = selecting(0.05f);
  options.remainder = false;  // so that both attend to the same and have the same queries
  Lists taken(o.plan.layers.size(), c.kv_head_count);
  auto own = o.decoder(options, 64, kv::Type::f32, 1024, &taken);
  taken.decoder = &own;
  run(own, tokens, tokens.size() - 1);
  Recall recall(c, taken, options.fraction);
  options.selector = &recall;
  auto following = o.decoder(options);
  const auto expected = std::vector<float>(own.logits().begin(), own.logits().end());
  const auto got = run(following, tokens, tokens.size() - 1);
  ASSERT_EQ(got, expected) << "both attend to the same";
  for (size_t layer = 0; layer < taken.of.size(); ++layer) {
    ASSERT_GT(recall.best[layer], 0u) << layer;
    const double share = static_cast<double>(recall.listed[layer]) / static_cast<double>(recall.far[layer]);
    const auto tries = static_cast<double>(recall.best[layer]);
    const double chance = share * tries, deviation = std::sqrt(tries * share * (1.0 - share));
    EXPECT_GT(static_cast<double>(recall.found[layer]), chance + 3.0 * deviation)
        << "layer " << layer << ": of " << tries << ", no better than " << share << " of all by chance";
  }
}

}  // namespace
}  // namespace minnow::testing
