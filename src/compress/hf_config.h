// config.json -> format::Config, for every architecture minnow knows.
//
// Goals: both forms of the file (rope_theta, rope_scaling, torch_dtype; rope_parameters, dtype); every
// key that changes the mathematics is read or refused, none is guessed.
#pragma once

#include <vector>

#include "base/status.h"
#include "compress/json.h"
#include "format/metadata.h"

namespace minnow::compress {

/// How an architecture names its tensors.
enum class Family : uint8_t { llama, phi3, phi, opt, gemma2, gemma3, olmo2 };

struct HfConfig {
  format::Config config;
  Family family = Family::llama;
  uint32_t layers = 0;
  std::vector<uint32_t> sliding_window;  ///< per layer, 0: none
  std::vector<int32_t> rope;             ///< per layer, -1: none
  bool bias_qkv = false, bias_o = false, bias_mlp = false;
  bool tied_said = false, tied = false;  ///< tie_word_embeddings, if it is there
  int32_t bos_id = -1;
  std::vector<int32_t> eos_ids;
};

Result<HfConfig> read_hf_config(const JsonObject& json);

/// "eos_token_id": 2 or [2, 3]; absent: nothing.
Result<std::vector<int32_t>> read_token_ids(const JsonObject& json, const char* key);

}  // namespace minnow::compress
