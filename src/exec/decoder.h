// The decoder: the forward pass of every supported architecture, for a chunk of tokens at a time.
// Prefill and decode are the same code; decode is a chunk of one.
//
// Goals: reads from top to bottom beside llama2.c; differences between architectures are enum fields
// of the config; allocates nothing after create(). One thread at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "exec/attention.h"
#include "exec/retrieval.h"
#include "exec/workspace.h"
#include "kv/cache.h"
#include "model/plan.h"

namespace minnow::exec {

/// What goes on in the object that owns a decoder. Whoever enters it makes it `running`, any thread may
/// then make it `cancelled`, and leaving makes it `idle`: one word, so that a cancel that comes late can
/// neither be lost nor end the next call.
enum class RunState : uint8_t { idle, running, cancelled };

/// What calibration looks at while a dense pass goes by: (rows, width) at a place in a layer.
class Probe {
 public:
  enum class Place : uint8_t {
    attention_in,   ///< input of q, k, v
    attention_out,  ///< input of o
    ffn_in,         ///< input of gate and up
    gate,           ///< act(W_gate x); gated FFNs only
    up,             ///< W_up x; gated FFNs only
    inner,          ///< input of down
    far_key,        ///< keys before rotation, (rows, KV heads * padded head_dim); where wants_far() says so
    far_query       ///< queries kFarDistance behind the key, (rows, heads * padded head_dim); likewise
  };
  virtual bool wants_far() const { return false; }
  virtual ~Probe() = default;
  virtual void see(uint32_t layer, Place place, const float* x, size_t stride, size_t rows) = 0;
};

/// What was left out since creation. Counted over tokens that ran with masks, to the end.
struct SparsityCounts {
  uint64_t tokens = 0;                                 ///< that ran with masks
  uint64_t bytes_skipped = 0;                          ///< weights not read, single tokens only
  uint64_t skipped_weights = 0, maskable_weights = 0;  ///< summed over those tokens
};

struct DecoderOptions {
  uint32_t context = 0;  ///< positions the KV cache holds
  uint32_t chunk = 256;  ///< tokens of one forward pass at most
  /// More than one: that many sequences grow together, and forward() takes the next token of each. They share
  /// every read of the weights.
  uint32_t sequences = 1;
  uint32_t logit_rows = 1;  ///< rows of logits computed at a time; more serves scoring
  kv::Type kv = kv::Type::f16;
  /// Bytes of KV cache and retrieval index that may be in memory, and where the file lies that holds what
  /// does not fit (kv/cache.h); 0: all in memory.
  uint64_t kv_budget = 0;
  std::string kv_dir;
  bool sparsity = false;      ///< leave out what the model's thresholds allow, in calls of one token
  bool mask_prompts = false;  ///< and in all others, where it saves nothing: the setting losses are given in
  float threshold_scale = 1.0f;  ///< of all thresholds
  /// Of single tokens, do not read the weights that masks leave out. Off: all are read and multiplied by
  /// zeros, which gives the same to the bit.
  bool skip = true;
  ListingLimits listing;       ///< of kept units, up to which they are read by list
  RetrievalOptions retrieval;  ///< of contexts longer than its `from`, where there are codebooks
  Probe* probe = nullptr;      ///< sees dense passes; null: nobody looks
  const std::atomic<RunState>* state = nullptr;  ///< looked at after every layer; null: nothing cancels
};

/// Whether a decoder gives keys their ids: its model has codebooks, and its context may outgrow attending to
/// all.
bool indexes(const model::Plan& plan, const DecoderOptions& options);

/// Receives logits row by row; a failure ends the pass.
class LogitsSink {
 public:
  virtual ~LogitsSink() = default;
  /// logits[vocab] of the `index`-th token given; valid during the call.
  virtual Status row(size_t index, std::span<const float> logits) = 0;
};

/// Called after every layer with the share of the work done, 0 to 1; false cancels.
struct Progress {
  bool (*report)(void* context, float done) = nullptr;
  void* context = nullptr;
};

class Decoder {
 public:
  static Result<Decoder> create(const model::Plan& plan, ThreadPool& pool, const DecoderOptions& options);

  /// Appends tokens to the sequence (of several sequences: one to each, seen by `sink` in this order). The
  /// logits behind the last one are in logits() afterwards; `sink`, when given, receives those behind every
  /// token. On failure (a token out of range, context_full, cancelled) position() is that of the last
  /// completed chunk. Where the KV file could not be read or written: io, and so is every call after it.
  Status forward(std::span<const int32_t> tokens, LogitsSink* sink = nullptr, Progress progress = {});

  /// Logits behind the last token, [vocab]; written by forward().
  std::span<const float> logits() const;

  uint32_t position() const { return position_; }
  uint32_t context() const { return cache_.shape().context; }
  uint32_t chunk() const { return ws_.chunk; }
  /// Forgets everything from `position` on.
  void rewind(uint32_t position);
  /// Takes over the sequence of another decoder of the same plan; its context must hold it. Where layers lie
  /// may differ. Errors: io, when a KV file could not be read or written.
  Status copy_from(const Decoder& other);

  /// Of rows and scales, in memory and in the file together; of these in the file.
  uint64_t kv_bytes() const { return cache_.shape().bytes(); }
  uint64_t kv_file_bytes() const { return cache_.file_bytes(); }
  /// Bytes of KV that attention reads for the next token, sliding windows considered; with retrieval as many
  /// rows as for the last one, and what selecting them reads.
  uint64_t kv_bytes_read() const;
  /// Whether keys have ids, so that retrieval can serve.
  bool has_index() const { return retrieval_.index.present(); }
  bool retrieval_on() const { return retrieval_.options.on; }
  /// Retrieval on or off for the tokens to come; keys get their ids all the same.
  void switch_retrieval(bool on) { retrieval_.options.on = on; }
  /// The same with another way to select. `from` must not fall below what the decoder was created with.
  void set_retrieval(const RetrievalOptions& options) { retrieval_.options = options; }
  const kv::Index& index() const { return retrieval_.index; }
  /// For measurements far into a context: somebody writes the rows (and ids) of `positions` more than there
  /// are through these two, and then says so.
  kv::Cache& cache() { return cache_; }
  kv::Index& index() { return retrieval_.index; }
  void advance(uint32_t positions) { position_ += positions; }
  /// Positions that a KV head of the last selecting layer attended to for the last token: sinks, the
  /// window, then others, each ascending.
  std::span<const uint32_t> selected(uint32_t kv_head) const {
    return {ws_.selected + kv_head * ws_.selected_stride, ws_.selected_count[kv_head]};
  }
  const RetrievalCounts& retrieval_counts() const { return retrieval_.counts; }
  uint64_t index_bytes() const { return retrieval_.index.shape().bytes(); }
  SparsityCounts sparsity_counts() const;
  /// Goes on counting where another decoder of the same plan stopped, and with retrieval on or off as there.
  void continue_counts(const Decoder& other);
  /// Of mask `index` (Plan::masks): the units kept over all tokens that ran with masks.
  uint64_t kept(size_t index) const { return kept_[index]; }
  uint64_t workspace_bytes() const { return ws_.memory.size(); }

 private:
  Decoder() = default;
  Chunk chunk_of(size_t tokens) const { return {position_, tokens, sequences_ > 1}; }
  Status forward_chunk(std::span<const int32_t> tokens, size_t done, size_t total, LogitsSink* sink,
                       bool last, const Progress& progress);
  Status kv_lost() const;
  void forget_counts_of_chunk();
  void take_counts_of_chunk(size_t tokens);
  void embed(std::span<const int32_t> tokens);
  void block(uint32_t layer, const Chunk& chunk);
  void attention_branch(uint32_t layer, const float* x, const Chunk& chunk);
  /// inner = act(W_gate x) * W_up x, every part of it shown to the probe.
  void probe_ffn(uint32_t layer, const float* x, size_t m);
  void ffn_branch(uint32_t layer, const float* x, size_t m);
  /// rows [first, first + count) of the hidden state -> ws_.logits
  void output(size_t first, size_t count);
  void norm(const model::NormWeights& w, const float* x, float* y, size_t rows);
  void add_branch(size_t m);

  const model::Plan* plan_ = nullptr;
  ThreadPool* pool_ = nullptr;
  Workspace ws_;
  kv::Cache cache_;
  Retrieval retrieval_;
  bool selects_ = false;  // of the call at hand
  uint32_t position_ = 0, sequences_ = 1;
  const std::atomic<RunState>* state_ = nullptr;
  bool sparsity_ = false, mask_prompts_ = false, skip_ = true;
  // Of chunks that were completed: a cancelled one counts nothing.
  uint64_t masked_tokens_ = 0, bytes_skipped_ = 0;
  std::vector<uint64_t> kept_;  // by Plan::masks
  Probe* probe_ = nullptr;
};

}  // namespace minnow::exec
