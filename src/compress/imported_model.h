// A model as the importers hand it over: config, weights by place, tokenizer. Independent of where it
// came from; the compressor turns it into a .mnw file.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compress/source.h"
#include "format/metadata.h"
#include "format/tokenizer_builder.h"

namespace minnow::compress {

struct ImportedLinear {
  std::string name;
  RowSource weight;
  std::vector<float> bias;  // (rows) or empty
  bool present() const { return weight.tensor != nullptr; }
};

struct ImportedNorm {
  std::vector<float> weight, bias;
  bool present() const { return !weight.empty(); }
};

struct ImportedLayer {
  ImportedLinear q, k, v, o, gate, up, down;
  ImportedNorm attn_norm, attn_post_norm, ffn_norm, ffn_post_norm, q_norm, k_norm;
  uint32_t sliding_window = 0;
  int32_t rope = -1;
};

struct ImportedModel {
  format::Config config;
  std::vector<ImportedLayer> layers;
  ImportedLinear embedding, head;  ///< head absent: tied to the embedding
  ImportedLinear embedding_in, embedding_out;
  std::vector<float> positions;  // (max_context, hidden)
  ImportedNorm final_norm;
  int32_t bos_id = -1;
  std::vector<int32_t> eos_ids;
  std::optional<format::TokenizerData> tokenizer;
  format::Provenance provenance;
  std::vector<std::string> warnings;
  uint64_t parameters = 0;
  std::vector<std::shared_ptr<TensorSource>> sources;  ///< keep the mapped files alive
};

/// A Hugging Face directory (config.json, safetensors, tokenizer.json).
Result<ImportedModel> import_huggingface(const std::string& directory);
/// A GGUF file.
Result<ImportedModel> import_gguf(const std::string& path);
/// Either, by what `path` is. Token ids outside the vocabulary are dropped with a warning.
Result<ImportedModel> import_model(const std::string& path);

}  // namespace minnow::compress
