// Ways to select positions that are measured against the codebooks: they look at the whole KV cache, so they
// say what a selection costs in quality, not what it costs in time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "exec/retrieval.h"
#include "model/plan.h"

namespace minnow::bench {

/// One arm: "dense", "vq" (the model's codebooks) or a selector.
struct Arm {
  std::string name;
  exec::RetrievalOptions options;
  std::unique_ptr<exec::Selector> selector;
};

/// From NAME[:key=value,...]. Throws std::invalid_argument. Names:
///   dense
///   vq     the model's codebooks
///   exact  top k of the true scores
///   far    of the scores as if all keys were kFarDistance away, without codebooks
///   pages  Quest: upper bounds of pages of 16
///   parts  product codes of whitened keys: `parts` of `bits` each
/// Keys: those of RetrievalOptions (fraction, budget, least, share, outliers, few for few_outliers, most for
/// most_outliers, measure, dense for dense_layers, rest for remainder); of parts, parts and bits.
Arm parse_arm(const std::string& text, const model::Plan& plan, kv::Type type);

}  // namespace minnow::bench
