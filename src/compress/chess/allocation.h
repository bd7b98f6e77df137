// Who leaves out how much: one budget of weights for all layers and matrices, spent where it costs least.
#pragma once

#include <cstdint>
#include <vector>

#include "compress/chess/statistics.h"

namespace minnow::compress {

/// Shares of a matrix below which nothing is saved; 0: every weight left out is one.
struct LeastShares {
  double rows = 0.0;    ///< of up
  double inputs = 0.0;  ///< of q, o, gate and down
};

/// One thing that may leave weights out, in every way it can.
class Menu {
 public:
  /// Inputs of a linear by |x| |W|: `weights` are the linear's; `sensitivity` is loss per unit of the
  /// histogram's cost and per sample of it. What `least` says counts as nothing saved.
  Menu(const Histogram& histogram, uint64_t weights, double sensitivity, const LeastShares& least);
  /// A gated FFN: rows of up by gate scores, then inputs of down by products of what is left.
  Menu(const GateTable& table, uint64_t weights, double sensitivity, const LeastShares& least);

  /// The choice of least loss - price * weights left out.
  struct Choice {
    uint32_t index = 0;
    double saved = 0.0;  ///< weights left out per token
    double cost = 0.0;   ///< loss
  };
  Choice best(double price) const;

 private:
  std::vector<float> saved_, cost_;
};

/// The choices that together leave out `wanted` weights per token at the least loss.
std::vector<Menu::Choice> spend(const std::vector<Menu>& menus, double wanted);

/// Thresholds of a choice in a GateTable menu: scores of gates, effects of products.
struct GateCuts {
  float gate = 0.0f, product = 0.0f;
};
GateCuts cuts_of(const GateTable& table, uint32_t choice);

}  // namespace minnow::compress
