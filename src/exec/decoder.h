// The decoder: the forward pass of every supported architecture, for a chunk of tokens at a time.
// Prefill and decode are the same code; decode is a chunk of one.
//
// Goals: reads from top to bottom beside llama2.c; differences between architectures are enum fields
// of the config; allocates nothing after create(). One thread at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "base/status.h"
#include "base/thread_pool.h"
#include "exec/workspace.h"
#include "kv/cache.h"
#include "model/plan.h"

namespace minnow::exec {

/// What goes on in the object that owns a decoder. Whoever enters it makes it `running`, any thread may
/// then make it `cancelled`, and leaving makes it `idle`: one word, so that a cancel that comes late can
/// neither be lost nor end the next call.
enum class RunState : uint8_t { idle, running, cancelled };

struct DecoderOptions {
  uint32_t context = 0;     ///< positions the KV cache holds
  uint32_t chunk = 256;     ///< tokens of one forward pass at most
  uint32_t logit_rows = 1;  ///< rows of logits computed at a time; more serves scoring
  kv::Type kv = kv::Type::f16;
  const std::atomic<RunState>* state = nullptr;  ///< looked at after every layer; null: nothing cancels
};

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

  /// Appends tokens to the sequence. The logits behind the last one are in logits() afterwards; `sink`,
  /// when given, receives those behind every token. On failure (a token out of range, context_full,
  /// cancelled) position() is that of the last completed chunk.
  Status forward(std::span<const int32_t> tokens, LogitsSink* sink = nullptr, Progress progress = {});

  /// Logits behind the last token, [vocab]; written by forward().
  std::span<const float> logits() const;

  uint32_t position() const { return position_; }
  uint32_t context() const { return cache_.shape().context; }
  uint32_t chunk() const { return ws_.chunk; }
  /// Forgets everything from `position` on.
  void rewind(uint32_t position) { position_ = position < position_ ? position : position_; }
  /// Takes over the sequence of another decoder of the same plan; its context must hold it.
  Status copy_from(const Decoder& other);

  uint64_t kv_bytes() const { return cache_.shape().bytes(); }
  /// Bytes of KV that attention reads for the next token, sliding windows considered.
  uint64_t kv_bytes_read() const;
  uint64_t workspace_bytes() const { return ws_.memory.size(); }

 private:
  Decoder() = default;
  Status forward_chunk(std::span<const int32_t> tokens, size_t done, size_t total, LogitsSink* sink,
                       bool last, const Progress& progress);
  void embed(std::span<const int32_t> tokens);
  void block(uint32_t layer, size_t m);
  void attention_branch(uint32_t layer, const float* x, size_t m);
  void ffn_branch(uint32_t layer, const float* x, size_t m);
  /// rows [first, first + count) of the hidden state -> ws_.logits
  void output(size_t first, size_t count);
  void norm(const model::NormWeights& w, const float* x, float* y, size_t rows);
  void add_branch(size_t m);

  const model::Plan* plan_ = nullptr;
  ThreadPool* pool_ = nullptr;
  Workspace ws_;
  kv::Cache cache_;
  uint32_t position_ = 0;
  const std::atomic<RunState>* state_ = nullptr;
};

}  // namespace minnow::exec
