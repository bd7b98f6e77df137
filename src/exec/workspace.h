// The memory a session computes in, sized once from the Plan; a token allocates nothing.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/buffer.h"
#include "base/status.h"
#include "exec/listing.h"
#include "model/plan.h"

namespace minnow::exec {

/// What activations are left out, and how much that came to. The Decoder sets it for a chunk of tokens.
struct Masking {
  bool on = false;
  bool skip = false;   ///< nor read: a single token's
  float scale = 1.0f;  ///< of all thresholds
};

/// What decides the size of a workspace.
struct WorkspaceShape {
  uint32_t chunk = 1, context = 1, threads = 1;
  uint32_t logit_rows = 1;   ///< rows of logits computed at a time (1 serves generation)
  bool retrieval = false;    ///< tokens select what they attend to
  bool far_queries = false;  ///< of every token, kFarDistance back, for calibration
};

/// Rows of C = chunk tokens. Strides are in floats and padded to 32; the padding stays zero, so every
/// row can be the input of a linear as it lies.
struct Workspace {
  uint32_t chunk = 0;
  size_t hidden_stride = 0, q_stride = 0, kv_stride = 0, ffn_stride = 0, embedding_stride = 0;
  size_t rotary_half = 0, logit_rows = 0, far_rows = 0;

  float* hidden = nullptr;  // (C, hidden)         the residual stream
  float* normed = nullptr;  // (C, hidden)         input of a branch
  float* branch = nullptr;  // (C, hidden)         output of a branch
  float* embed = nullptr;   // (C, embedding)      only where projections stand between
  float* q = nullptr;       // (C, heads, padded head_dim)
  float* k = nullptr;       // (C, kv_heads, padded head_dim)
  float* v = nullptr;       // (C, kv_heads, padded head_dim)
  float* attn = nullptr;    // (C, heads, padded head_dim), then compact (C, heads * head_dim)
  float* gate = nullptr;    // (C, ffn)
  float* up = nullptr;      // (C, ffn)
  float* cosine = nullptr;  // (ropes, C, rotary / 2)
  float* sine = nullptr;    // (ropes, C, rotary / 2)
  float* tile =
      nullptr;  // (threads, tile_stride): a tile of weights, widened for XNNPACK or expanded for gemm
  float* logits = nullptr;  // (logit_rows, vocab)

  std::byte* attention_scratch = nullptr;  // (threads, attention_scratch_bytes)
  // Attention whose positions were cut into pieces (attention.h), P = pieces of it times tokens.
  float* partial = nullptr;                              // (P, heads, padded head_dim)
  float *partial_max = nullptr, *partial_sum = nullptr;  // (P, heads)
  std::atomic<uint32_t>* pieces_done = nullptr;          // (piece_counters); zero between calls

  // Prepared inputs of the linears being run, by the Plan's forms.
  float* input = nullptr;             // (C, Plan::input.floats)
  int8_t* input_codes = nullptr;      // (C, Plan::input.codes)
  float* input_scales = nullptr;      // (C, Plan::input.groups)
  float* input_zs = nullptr;          // (C, Plan::input.groups)   scale * sum of codes
  int32_t* input_sums = nullptr;      // (threads, Plan::input.groups)
  float* channel_partials = nullptr;  // (kFewPasses, Plan::input.channel_pieces, partial_stride)
  int32_t* channel_sums = nullptr;    // (threads, partial_stride)

  std::byte* attention_scratch_of(uint32_t slot) const { return attention_scratch + slot * scratch_stride; }
  float* tile_of(uint32_t slot) const { return tile + slot * tile_stride; }

  // Activation sparsity. Lists are those of a single token.
  Masking masking;
  ListingLimits listing;
  float* masked = nullptr;     // (threads, masked_stride)   an input with its small entries zeroed
  uint32_t* inputs = nullptr;  // (masked_stride)            kept inputs of a linear, by slab
  uint32_t* input_starts =
      nullptr;                  // (Plan::input.groups + slabs)   where each group's begin, one end a slab
  uint32_t* neurons = nullptr;  // (ffn_stride)               kept neurons, from a portion's first on
  std::atomic<uint64_t>* kept = nullptr;           // (Plan::masks)   units kept by the chunk at hand
  std::atomic<uint64_t>* bytes_skipped = nullptr;  // (1)             of weights, by the chunk at hand

  // Retrieval (retrieval.h). S = positions a token may select, N = pieces of them.
  float* far_q = nullptr;                            // (bands, far_rows: 1 or C, heads, padded head_dim)
  float* far_k = nullptr;                            // (C, kv_heads, padded head_dim)
  float *far_cosine = nullptr, *far_sine = nullptr;  // (bands, ropes, rotary / 2)
  uint32_t* selected = nullptr;                      // (kv_heads, selected_stride)   positions
  uint32_t* selected_count = nullptr;                // (kv_heads)
  float* selected_partial = nullptr;                 // (N, heads, padded head_dim)
  float *selected_max = nullptr, *selected_sum = nullptr;  // (N, heads)
  std::atomic<uint32_t>* selected_done = nullptr;          // (kv_heads)   zero between calls
  std::byte* retrieval_scratch = nullptr;                  // (threads, retrieval_scratch_bytes)

  size_t far_band_stride() const { return far_rows * q_stride; }
  std::byte* retrieval_scratch_of(uint32_t slot) const { return retrieval_scratch + slot * retrieval_stride; }
  float* masked_of(uint32_t slot) const { return masked + slot * masked_stride; }

  size_t tile_stride = 0, partial_stride = 0, scratch_stride = 0, masked_stride = 0;
  size_t selected_stride = 0, retrieval_stride = 0;
  Buffer memory;

  static Result<Workspace> create(const model::Plan& plan, const WorkspaceShape& shape);
  /// The bytes create() would take.
  static uint64_t bytes(const model::Plan& plan, const WorkspaceShape& shape);
};

}  // namespace minnow::exec
