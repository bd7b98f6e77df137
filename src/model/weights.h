// The weights of a model as typed pointers into its container, every shape checked against the config.
//
// Goals: after create() succeeded, the forward pass may follow any pointer in here without a check.
// The container must outlive the weights. Immutable, thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "format/container.h"

namespace minnow::model {

using format::CodeType;
using format::Config;
using format::Layout;

/// Channels [first, first + count) of a linear, all of one width. Strides in bytes.
struct SlabWeights {
  CodeType code = CodeType::none;
  uint32_t group = 0, first = 0, count = 0, padded = 0, groups = 0;
  const uint8_t* codes = nullptr;
  uint64_t code_stride = 0;
  format::ScaleType scale_type = format::ScaleType::none;
  const uint8_t* scales = nullptr;
  uint64_t scale_stride = 0;
  format::ZeroType zero_type = format::ZeroType::midpoint;
  const uint8_t* zeros = nullptr;  ///< nullptr: the midpoint everywhere
  uint64_t zero_stride = 0;
  std::span<const float> levels;
};

/// y = W x + bias; W is (rows, cols).
struct LinearWeights {
  std::string_view name;
  uint32_t rows = 0, cols = 0;
  Layout layout = Layout::row;
  const uint32_t* input_order = nullptr;  // (cols); nullptr: as they come
  std::vector<SlabWeights> slabs;
  const float* bias = nullptr;          // (rows)
  const float* input_centre = nullptr;  // (cols), slab order
  /// Inputs of at most this magnitude may be taken as zero. (cols), slab order; nullptr: none are.
  const float* thresholds = nullptr;

  /// Bytes a token must read: codes, scales and zeros, padding excluded.
  uint64_t bytes() const;
  uint64_t weight_count() const { return uint64_t{rows} * cols; }
};

/// Of a codebook; so many bits fit two vector registers.
inline constexpr uint32_t kMostCentroids = 1024;

/// What the keys of a KV head are taken for where only their rank matters. A key k before rotation belongs to
/// the centre nearest to k L + offset.
struct Codebook {
  LinearWeights centres;             // (centroids, head_dim), panels of 8-bit codes
  const float* whitening = nullptr;  // (head_dim, padded head_dim): U = L^T, upper
  const float* offset = nullptr;     // (head_dim)
};

struct NormWeights {
  const float* weight = nullptr;
  const float* bias = nullptr;
  bool present() const { return weight != nullptr; }
};

struct LayerWeights {
  const LinearWeights* q = nullptr;                                // (heads * head_dim, hidden)
  const LinearWeights* k = nullptr;                                // (kv_heads * head_dim, hidden)
  const LinearWeights* v = nullptr;                                // (kv_heads * head_dim, hidden)
  const LinearWeights* o = nullptr;                                // (hidden, heads * head_dim)
  const LinearWeights* gate = nullptr;                             // (ffn, hidden), gated FFNs only
  const LinearWeights* up = nullptr;                               // (ffn, hidden)
  const LinearWeights* down = nullptr;                             // (hidden, ffn)
  NormWeights attn_norm, attn_post_norm, ffn_norm, ffn_post_norm;  // (hidden)
  NormWeights q_norm, k_norm;  // (head_dim) per head, or all heads at once
  /// The same for act(gate), and with it rows of `up`. (ffn), gated FFNs only; nullptr: none.
  const float* gate_thresholds = nullptr;
  uint32_t sliding_window = 0;
  const format::Rope* rope = nullptr;  ///< nullptr: this layer does not rotate
  std::vector<Codebook> codebooks;     ///< by KV head; empty: this layer has none
};

/// Ranges and contradictions of a config by itself. The compressor asks before it writes.
Status check_config(const Config& config, size_t layers);

class Weights {
 public:
  static Result<Weights> create(const format::Container& container);

  const Config& config() const { return *config_; }
  std::vector<LayerWeights> layers;
  const LinearWeights* embedding = nullptr;      // (vocab, embedding)
  const LinearWeights* head = nullptr;           // (vocab, embedding); the embedding's record when tied
  const LinearWeights* embedding_in = nullptr;   // (hidden, embedding)
  const LinearWeights* embedding_out = nullptr;  // (embedding, hidden)
  LinearWeights positions;                       // (max_context, hidden), floats; no rows: not learned
  NormWeights final_norm;                        // (hidden)
  std::vector<LinearWeights> linears;

 private:
  const Config* config_ = nullptr;
};

/// Adds the bytes of one decode step: every linear once, the embedding only when it is also the head.
uint64_t bytes_per_token(const Weights& weights);
/// Weights that it multiplies: those of the layers and the output head.
uint64_t weights_per_token(const Weights& weights);

}  // namespace minnow::model
