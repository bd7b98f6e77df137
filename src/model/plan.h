// The Plan: everything decided once, at load, so that a token decides nothing. Which kernel serves
// each slab, what form each linear wants its input in, and how large the workspace of a session is.
//
// Goals: dispatch, layout and width questions end here; a file that asks for a kernel minnow does not
// have is refused by name at load. Immutable, shared by sessions.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/status.h"
#include "model/kernel_set.h"
#include "model/weights.h"

namespace minnow::model {

/// How one slab's channels are laid out in a prepared input row.
struct InputPiece {
  uint32_t first = 0, count = 0, padded = 0;
  uint32_t group = 0;  // 0: floats; else int8 codes with a scale and a sum per group
  uint32_t groups = 0;
  uint32_t offset = 0;  // in codes (bytes) or floats
  uint32_t group_offset = 0;
  uint32_t codes_end = 0, groups_end = 0;  // the next piece's: between lie the zeros that kernels want
};

/// A form of input: linears that read the same activations in the same form share one preparation.
struct InputForm {
  const uint32_t* order = nullptr;    // gather; nullptr: as they come
  const float* thresholds = nullptr;  // slab order; nullptr: nothing is left out
  std::vector<InputPiece> pieces;
  uint32_t floats = 0, codes = 0, groups = 0;  // per row
  /// The activations serve as they are: one float piece, in order.
  bool direct() const {
    return order == nullptr && thresholds == nullptr && pieces.size() == 1 && pieces[0].group == 0;
  }
  /// One piece of floats, in whatever order: what a product of float matrices reads.
  bool floats_only() const { return pieces.size() == 1 && pieces[0].group == 0; }
  bool operator==(const InputForm& other) const;
};

/// Channels [k0, k1) of a slab of a channel-layout linear: what one thread adds up into a vector of its own.
struct ChannelPiece {
  uint32_t slab = 0, k0 = 0, k1 = 0;
};

struct PlanLinear {
  const LinearWeights* weights = nullptr;  ///< nullptr: the model has no such linear
  uint32_t form = 0;                       ///< index into Plan::forms
  /// Channel layout only. Cut by shape alone and added in this order, so that results do not depend on
  /// threads; large ones first, so that threads finish together.
  std::vector<ChannelPiece> pieces;
  int32_t mask = -1;  ///< index into Plan::masks, where it has thresholds
  explicit operator bool() const { return weights != nullptr; }
};

/// What may be left out together, a unit at a time: an input of a linear, or a neuron of `up`.
struct Mask {
  uint32_t layer = 0;
  const LinearWeights* linear = nullptr;  ///< whose weights are left out
  bool gate = false;  ///< by act(gate): units are rows of `up`; else they are inputs of the linear
  uint32_t units = 0;
  uint64_t unit_weights() const { return linear->weight_count() / units; }
};

struct PlanLayer {
  const LayerWeights* weights = nullptr;
  /// By KV head, -|c|^2 / 2 of each centroid c of its codebook; empty: the layer has none.
  std::vector<std::vector<float>> centroid_bias;
  int32_t gate_mask = -1;  ///< index into Plan::masks, where act(gate) has thresholds
  PlanLinear q, k, v, o, gate, up, down;
};

/// Upper bounds over all forms and linears, for the workspace.
struct InputExtent {
  uint32_t floats = 0, codes = 0, groups = 0;
  uint32_t slabs = 0;           ///< of one linear
  uint32_t channel_pieces = 0;  ///< of one channel-layout linear
  uint32_t channel_rows = 0;    ///< its outputs
  bool float_tiles = false;     ///< some linear stores floats
};

struct Plan {
  const Config* config = nullptr;
  const Weights* weights = nullptr;
  KernelSet kernels;
  bool use_xnnpack = false;  ///< dense float prefill; off when an ISA level was forced
  std::vector<InputForm> forms;
  std::vector<PlanLayer> layers;
  PlanLinear head, embedding_in, embedding_out;
  InputExtent input;
  uint64_t bytes_per_token = 0;
  uint64_t weights_per_token = 0;  ///< of layers and output head
  std::vector<Mask> masks;         ///< empty: the model has no thresholds
  uint32_t centroids = 0;          ///< of the largest codebook; 0: the model has none
  /// The mean of |c|^2 over all codebooks: what distances of keys from their centroids are told in.
  float centroid_square = 0.0f;

  /// `xnnpack`: whether it runs here (exec::float_gemm_available).
  static Result<Plan> create(const Weights& weights, uint32_t isa, bool xnnpack);
};

/// Writes row `row` of a linear (one embedding) as floats. `out` has room for cols padded to 32.
void dequantise_row(const LinearWeights& weights, uint32_t row, const KernelSet& kernels, float* out);

}  // namespace minnow::model
