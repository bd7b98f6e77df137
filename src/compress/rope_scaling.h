// Frequencies of rotary embeddings with their scaling applied, as Hugging Face computes them.
#pragma once

#include "base/status.h"
#include "compress/json.h"
#include "format/metadata.h"

namespace minnow::compress {

struct RopeInput {
  double theta = 10000.0;
  uint32_t rotary_dim = 0;
  uint32_t max_context = 0;
  uint32_t original_context = 0;  ///< config-level original_max_position_embeddings, 0: absent
};

/// `scaling` is rope_scaling or rope_parameters, or null. Types default, linear, llama3, yarn and
/// longrope are known; any other is refused by name.
Result<format::Rope> make_rope(const RopeInput& input, const JsonObject* scaling);

}  // namespace minnow::compress
