#include "exec/decoder.h"

#include <algorithm>
#include <cmath>

#include "exec/attention.h"
#include "exec/float_gemm.h"
#include "exec/key_index.h"
#include "exec/linear.h"

namespace minnow::exec {

using format::BlockKind;
using format::NormPlacement;
using model::Config;
using model::PlanLayer;

namespace {

::Activation kernel_activation(format::Activation a) {
  constexpr ::Activation kNames[] = {::Activation::silu, ::Activation::gelu_tanh, ::Activation::gelu_erf,
                                     ::Activation::relu};
  return kNames[size_t(a)];
}

}  // namespace

bool indexes(const model::Plan& plan, const DecoderOptions& o) {
  return o.retrieval.on && plan.centroids != 0 && o.sequences == 1 && o.context > o.retrieval.from;
}

Result<Decoder> Decoder::create(const model::Plan& plan, ThreadPool& pool, const DecoderOptions& options) {
  const Config& c = *plan.config;
  if (options.context == 0 || options.chunk == 0 || options.logit_rows == 0 || options.sequences == 0) {
    return fail(Code::invalid_argument, "context, chunk, logit rows and sequences must be at least 1");
  }
  if (options.sequences > 1 && (options.sparsity || options.probe != nullptr)) {
    return fail(Code::unsupported, "several sequences at a time run dense, and no probe sees them");
  }
  if (c.position == format::PositionKind::learned && options.context > c.max_context) {
    return fail(Code::invalid_argument, "a context of ", options.context,
                " was asked for; the model's learned positions end at ", c.max_context);
  }
  if (options.sparsity && plan.masks.empty()) {
    return fail(Code::unsupported,
                "sparsity was asked for, but this model has no thresholds; make some with "
                "`minnow compress M.mnw -o N.mnw --sparsity 0.5`");
  }
  if (!(options.threshold_scale >= 0.0f) || std::isinf(options.threshold_scale)) {
    return fail(Code::invalid_argument, "a threshold scale of ", options.threshold_scale,
                " was asked for; it is a number of at least 0");
  }
  Decoder d;
  d.plan_ = &plan;
  d.pool_ = &pool;
  const bool lockstep = options.sequences > 1;
  const uint32_t chunk = lockstep ? options.sequences : std::min(options.chunk, options.context);
  WorkspaceShape ws{chunk, options.context, pool.threads(), options.logit_rows};
  ws.retrieval = indexes(plan, options);
  ws.far_queries = options.probe != nullptr && options.probe->wants_far();
  MINNOW_ASSIGN(d.ws_, Workspace::create(plan, ws));
  if (ws.retrieval) {
    MINNOW_ASSIGN(d.retrieval_.index, kv::Index::create(index_shape(plan, options.context)));
  }
  d.retrieval_.options = options.retrieval;
  if (ws.far_queries) fill_far_rope_tables_at(plan, d.ws_, options.context, kFarDistance);
  const kv::Shape shape{static_cast<uint32_t>(plan.layers.size()) * options.sequences, c.kv_head_count,
                        c.head_dim, options.context, options.kv};
  d.sequences_ = options.sequences;
  MINNOW_ASSIGN(const uint32_t in_memory,
                kv::layers_in_memory(shape, d.retrieval_.index.shape().bytes(), options.kv_budget));
  MINNOW_ASSIGN(d.cache_, kv::Cache::create(shape, in_memory, options.kv_dir));
  d.state_ = options.state;
  d.probe_ = options.probe;
  d.sparsity_ = options.sparsity;
  d.mask_prompts_ = options.mask_prompts;
  d.skip_ = options.skip;
  d.ws_.masking.scale = options.threshold_scale;
  d.ws_.listing = options.listing;
  d.kept_.resize(plan.masks.size());
  return d;
}

std::span<const float> Decoder::logits() const {
  return {ws_.logits, plan_->config->vocab_size};
}

uint64_t Decoder::kv_bytes_read() const {
  const kv::Shape& shape = cache_.shape();
  const uint64_t row = 2 * shape.half_bytes() + (shape.type == kv::Type::q8 ? 8 : 0);
  const bool selects = retrieval_.serves(position_);
  uint64_t rows = 0, lookups = 0;
  for (uint32_t i = 0; i < plan_->layers.size(); ++i) {
    const PlanLayer& l = plan_->layers[i];
    const uint32_t window = l.weights->sliding_window;
    if (selects && i >= retrieval_.options.dense_layers && !l.centroid_bias.empty()) {
      lookups += shape.kv_heads * uint64_t{position_} * sizeof(uint16_t);
      for (const model::Codebook& b : l.weights->codebooks) lookups += b.centres.bytes();
      lookups += retrieval_.index.shape().means_bytes() / plan_->layers.size();
      continue;
    }
    rows += window != 0 ? std::min(window, position_) : position_;
  }
  if (lookups != 0) lookups += retrieval_.attended_last * row;
  return rows * sequences_ * shape.kv_heads * row + lookups;
}

SparsityCounts Decoder::sparsity_counts() const {
  SparsityCounts c;
  c.tokens = masked_tokens_;
  c.bytes_skipped = bytes_skipped_;
  for (size_t i = 0; i < plan_->masks.size(); ++i) {
    const model::Mask& m = plan_->masks[i];
    const uint64_t seen = masked_tokens_ * m.units;
    c.maskable_weights += seen * m.unit_weights();
    c.skipped_weights += (seen - kept_[i]) * m.unit_weights();
  }
  return c;
}

void Decoder::continue_counts(const Decoder& other) {
  masked_tokens_ = other.masked_tokens_;
  bytes_skipped_ = other.bytes_skipped_;
  kept_ = other.kept_;
  retrieval_.counts = other.retrieval_.counts;
  retrieval_.options.on = other.retrieval_.options.on;
}

void Decoder::forget_counts_of_chunk() {
  for (size_t i = 0; i < kept_.size(); ++i) ws_.kept[i].store(0, std::memory_order_relaxed);
  ws_.bytes_skipped->store(0, std::memory_order_relaxed);
}

void Decoder::take_counts_of_chunk(size_t tokens) {
  masked_tokens_ += tokens;
  for (size_t i = 0; i < kept_.size(); ++i) kept_[i] += ws_.kept[i].load(std::memory_order_relaxed);
  bytes_skipped_ += ws_.bytes_skipped->load(std::memory_order_relaxed);
}

void Decoder::rewind(uint32_t position) {
  if (position >= position_) return;
  position_ = position;
  if (has_index() && retrieval_.index.counted() > position) retrieval_.index.forget_counts();
}

Status Decoder::copy_from(const Decoder& other) {
  const kv::Shape &mine = cache_.shape(), &theirs = other.cache_.shape();
  if (plan_ != other.plan_ || mine.type != theirs.type || sequences_ != other.sequences_) {
    return fail(Code::invalid_argument,
                "a sequence can be copied only between sessions of one model and one KV type");
  }
  if (other.position_ > mine.context) {
    return fail(Code::context_full, "the sequence has ", other.position_, " tokens, this session holds ",
                mine.context);
  }
  if (other.cache_.failed()) return other.kv_lost();
  cache_.copy_from(other.cache_, other.position_);
  if (other.cache_.failed()) return other.kv_lost();
  if (cache_.failed()) return kv_lost();
  if (has_index()) {
    if (!other.has_index()) {
      return fail(Code::invalid_argument,
                  "a sequence without a retrieval index cannot go on in a session that has one");
    }
    retrieval_.index.copy_from(other.retrieval_.index, other.position_);
  }
  std::copy_n(other.ws_.logits, plan_->config->vocab_size, ws_.logits);
  position_ = other.position_;
  return {};
}

Status Decoder::kv_lost() const {
  return fail(
      Code::io, "the KV file in '", cache_.directory(),
      "' could not be read or written (an error of its disk, or the file was cut short): what the session "
      "held is lost, and rewinding does not bring it back; destroy it and make another");
}

Status Decoder::forward(std::span<const int32_t> tokens, LogitsSink* sink, Progress progress) {
  const uint32_t vocab = plan_->config->vocab_size;
  if (tokens.empty()) return fail(Code::invalid_argument, "no tokens were given");
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || uint32_t(tokens[i]) >= vocab) {
      return fail(Code::invalid_argument, "token ", i, " is ", tokens[i], ", outside the vocabulary of ",
                  vocab);
    }
  }
  if (sequences_ > 1 && tokens.size() != sequences_) {
    return fail(Code::invalid_argument, tokens.size(), " tokens were given for ", sequences_,
                " sequences; each takes one");
  }
  if ((sequences_ > 1 ? 1 : tokens.size()) > context() - position_) {
    return fail(Code::context_full, tokens.size(), " tokens do not fit behind the ", position_,
                " of a context of ", context(), "; make the session with a larger context, or rewind it");
  }
  ws_.masking.on = sparsity_ && (mask_prompts_ || tokens.size() == 1);
  selects_ = tokens.size() == 1 && retrieval_.serves(position_);  // the last token of a prompt does not
  if (selects_) retrieval_.attended_last = 0;
  for (size_t done = 0; done < tokens.size();) {
    const size_t m = std::min<size_t>(ws_.chunk, tokens.size() - done);
    MINNOW_TRY(forward_chunk(tokens.subspan(done, m), done, tokens.size(), sink, done + m == tokens.size(),
                             progress));
    done += m;
  }
  return {};
}

Status Decoder::forward_chunk(std::span<const int32_t> tokens, size_t done, size_t total, LogitsSink* sink,
                              bool last, const Progress& progress) {
  const size_t m = tokens.size();
  const auto layers = static_cast<uint32_t>(plan_->layers.size());
  const Chunk chunk = chunk_of(m);
  cache_.look_for_lost_writes();
  if (cache_.failed()) return kv_lost();
  if (selects_ && far_end(position_) > kSinks)
    count_far_keys(*plan_, ws_, *pool_, cache_, retrieval_.index, kSinks, far_end(position_));
  fill_rope_tables(*plan_, ws_, context(), chunk);
  if (selects_) {
    choose_outliers(*plan_, retrieval_, position_);
    fill_far_rope_tables(*plan_, ws_, context(), position_);
  }
  ws_.masking.skip = ws_.masking.on && skip_ && m == 1;
  if (ws_.masking.on) forget_counts_of_chunk();  // those of one that was cancelled
  embed(tokens);
  for (uint32_t layer = 0; layer < layers; ++layer) {
    block(layer, chunk);
    if (cache_.failed()) return kv_lost();
    bool stop = state_ != nullptr && state_->load(std::memory_order_relaxed) == RunState::cancelled;
    if (progress.report != nullptr) {
      const float share =
          (static_cast<float>(done) + static_cast<float>(m * (layer + 1)) / static_cast<float>(layers)) /
          static_cast<float>(total);
      stop = !progress.report(progress.context, share) || stop;
    }
    if (stop) return fail(Code::cancelled, "cancelled after ", done, " of ", total, " tokens");
  }
  if (sink != nullptr) {
    for (size_t first = 0; first < m; first += ws_.logit_rows) {
      const size_t count = std::min(ws_.logit_rows, m - first);
      output(first, count);
      const size_t vocab = plan_->config->vocab_size;
      for (size_t i = 0; i < count; ++i)
        MINNOW_TRY(sink->row(done + first + i, {ws_.logits + i * vocab, vocab}));
      // logits() are those behind the last token
      if (first + count == m && count > 1) std::copy_n(ws_.logits + (count - 1) * vocab, vocab, ws_.logits);
    }
  } else if (last) {
    output(m - 1, 1);
  }
  position_ += sequences_ > 1 ? 1 : static_cast<uint32_t>(m);
  if (ws_.masking.on) take_counts_of_chunk(m);
  if (selects_) ++retrieval_.counts.tokens;
  return {};
}

/// hidden (m, hidden) = embedding rows * scale (+ positions)
void Decoder::embed(std::span<const int32_t> tokens) {
  const Config& c = *plan_->config;
  const model::Weights& w = *plan_->weights;
  const Chunk chunk = chunk_of(tokens.size());
  float* out = plan_->embedding_in ? ws_.embed : ws_.hidden;
  const size_t stride = plan_->embedding_in ? ws_.embedding_stride : ws_.hidden_stride;
  for (size_t t = 0; t < tokens.size(); ++t) {
    dequantise_row(*w.embedding, static_cast<uint32_t>(tokens[t]), plan_->kernels, out + t * stride);
  }
  if (plan_->embedding_in) {
    run_linears(*plan_, ws_, *pool_, out, stride, tokens.size(),
                {{&plan_->embedding_in, ws_.hidden, ws_.hidden_stride}});
  }
  for (size_t t = 0; t < tokens.size(); ++t) {
    float* h = ws_.hidden + t * ws_.hidden_stride;
    const float* const p = w.positions.rows == 0 ? nullptr : ws_.normed;
    if (p == nullptr && c.embedding_scale == 1.0f) continue;
    if (p != nullptr) dequantise_row(w.positions, chunk.position_of(t), plan_->kernels, ws_.normed);
    const AxpyArgs args{p, h, c.hidden_size, 1.0f, c.embedding_scale};
    plan_->kernels.axpy->fn(&args);
  }
}

void Decoder::norm(const model::NormWeights& w, const float* x, float* y, size_t rows) {
  const Config& c = *plan_->config;
  const auto* kernel = c.norm == format::NormKind::rms ? plan_->kernels.rms_norm : plan_->kernels.layer_norm;
  pool_->parallel_for(rows, 8, [&](size_t r0, size_t r1, uint32_t) {
    const NormArgs args{
        x + r0 * ws_.hidden_stride, ws_.hidden_stride, w.weight,      w.bias,    y + r0 * ws_.hidden_stride,
        ws_.hidden_stride,          r1 - r0,           c.hidden_size, c.norm_eps};
    kernel->fn(&args);
  });
}

/// hidden += residual_scale * branch
void Decoder::add_branch(size_t m) {
  pool_->parallel_for(m, 16, [&](size_t r0, size_t r1, uint32_t) {
    const AxpyArgs args{ws_.branch + r0 * ws_.hidden_stride, ws_.hidden + r0 * ws_.hidden_stride,
                        (r1 - r0) * ws_.hidden_stride, plan_->config->residual_scale, 1.0f};
    plan_->kernels.axpy->fn(&args);
  });
}

void Decoder::block(uint32_t layer, const Chunk& chunk) {
  const Config& c = *plan_->config;
  const size_t m = chunk.m;
  const model::LayerWeights& w = *plan_->layers[layer].weights;
  const bool pre = c.norm_placement == NormPlacement::pre || c.norm_placement == NormPlacement::sandwich;

  const float* x = ws_.hidden;
  if (pre) norm(w.attn_norm, ws_.hidden, ws_.normed, m), x = ws_.normed;
  attention_branch(layer, x, chunk);
  if (w.attn_post_norm.present()) norm(w.attn_post_norm, ws_.branch, ws_.branch, m);
  add_branch(m);
  if (c.norm_placement == NormPlacement::post_residual) norm(w.attn_norm, ws_.hidden, ws_.hidden, m);

  // A parallel block feeds the FFN from the same normed input, which is still there.
  if (c.block == BlockKind::sequential) {
    x = ws_.hidden;
    if (pre) norm(w.ffn_norm, ws_.hidden, ws_.normed, m), x = ws_.normed;
  }
  ffn_branch(layer, x, m);
  if (w.ffn_post_norm.present()) norm(w.ffn_post_norm, ws_.branch, ws_.branch, m);
  add_branch(m);
  if (c.norm_placement == NormPlacement::post_residual) norm(w.ffn_norm, ws_.hidden, ws_.hidden, m);
}

/// branch (m, hidden) = W_o attention(W_q x, W_k x, W_v x)
void Decoder::attention_branch(uint32_t layer, const float* x, const Chunk& chunk) {
  const PlanLayer& l = plan_->layers[layer];
  const size_t m = chunk.m;
  if (probe_ != nullptr) probe_->see(layer, Probe::Place::attention_in, x, ws_.hidden_stride, m);
  run_linears(*plan_, ws_, *pool_, x, ws_.hidden_stride, m,
              {{&l.q, ws_.q, ws_.q_stride}, {&l.k, ws_.k, ws_.kv_stride}, {&l.v, ws_.v, ws_.kv_stride}});
  const bool indexed = has_index() && !l.centroid_bias.empty();
  const bool selects = indexed && selects_ && layer >= retrieval_.options.dense_layers;
  const bool far = probe_ != nullptr && probe_->wants_far();
  const uint32_t bands = selects ? bands_of(position_ + 1) : far ? 1 : 0;  // calibration does not select
  rotate_and_store(*plan_, ws_, *pool_, cache_, layer, chunk, {indexed || far, bands});
  if (far) {
    probe_->see(layer, Probe::Place::far_key, ws_.far_k, ws_.kv_stride, m);
    probe_->see(layer, Probe::Place::far_query, ws_.far_q, ws_.q_stride, m);
  }
  if (indexed) index_keys(*plan_, ws_, *pool_, retrieval_.index, layer, chunk);
  if (selects) {
    attend_selected(*plan_, ws_, *pool_, cache_, retrieval_, layer, chunk);
  } else {
    attend(*plan_, ws_, *pool_, cache_, layer, chunk);
  }
  if (probe_ != nullptr) probe_->see(layer, Probe::Place::attention_out, ws_.attn, ws_.q_stride, m);
  run_linears(*plan_, ws_, *pool_, ws_.attn, ws_.q_stride, m, {{&l.o, ws_.branch, ws_.hidden_stride}});
}

void Decoder::probe_ffn(uint32_t layer, const float* x, size_t m) {
  using Place = Probe::Place;
  const PlanLayer& l = plan_->layers[layer];
  const size_t n = l.up.weights->rows, stride = ws_.ffn_stride;
  const ::Activation activation = kernel_activation(plan_->config->activation);
  const auto act = [&](float* rows, const float* with, ::Activation kind) {
    for (size_t t = 0; t < m; ++t) {
      const ActivationArgs args{rows + t * stride, with != nullptr ? with + t * stride : nullptr,
                                rows + t * stride, n, kind};
      plan_->kernels.activation->fn(&args);
    }
  };
  probe_->see(layer, Place::ffn_in, x, ws_.hidden_stride, m);
  run_linears(*plan_, ws_, *pool_, x, ws_.hidden_stride, m, {{&l.up, ws_.up, stride}});
  float* inner = ws_.up;
  if (l.gate) {
    run_linears(*plan_, ws_, *pool_, x, ws_.hidden_stride, m, {{&l.gate, ws_.gate, stride}});
    inner = ws_.gate;
    act(inner, nullptr, activation);
    probe_->see(layer, Place::gate, ws_.gate, stride, m);
    probe_->see(layer, Place::up, ws_.up, stride, m);
    act(inner, ws_.up, ::Activation::identity);
  } else {
    act(inner, nullptr, activation);
  }
  probe_->see(layer, Place::inner, inner, stride, m);
}

/// branch (m, hidden) = W_down (act(W_gate x) * W_up x), or W_down act(W_up x)
void Decoder::ffn_branch(uint32_t layer, const float* x, size_t m) {
  const Config& c = *plan_->config;
  const PlanLayer& l = plan_->layers[layer];
  float* inner = l.gate ? ws_.gate : ws_.up;
  if (probe_ != nullptr) {
    probe_ffn(layer, x, m);
  } else {
    run_gated(*plan_, ws_, *pool_, x, ws_.hidden_stride, m, {&l.gate, ws_.gate, ws_.ffn_stride},
              {&l.up, ws_.up, ws_.ffn_stride}, kernel_activation(c.activation),
              {l.weights->gate_thresholds, l.gate_mask});
  }
  run_linears(*plan_, ws_, *pool_, inner, ws_.ffn_stride, m, {{&l.down, ws_.branch, ws_.hidden_stride}});
}

void Decoder::output(size_t first, size_t count) {
  const Config& c = *plan_->config;
  const float* x = ws_.hidden + first * ws_.hidden_stride;
  size_t stride = ws_.hidden_stride;
  if (plan_->weights->final_norm.present()) {
    norm(plan_->weights->final_norm, x, ws_.normed, count);
    x = ws_.normed;
  }
  if (plan_->embedding_out) {
    run_linears(*plan_, ws_, *pool_, x, stride, count,
                {{&plan_->embedding_out, ws_.embed, ws_.embedding_stride}});
    x = ws_.embed;
    stride = ws_.embedding_stride;
  }
  run_linears(*plan_, ws_, *pool_, x, stride, count, {{&plan_->head, ws_.logits, c.vocab_size}});
  const size_t n = count * c.vocab_size;
  if (c.logits_softcap > 0.0f) {  // cap * tanh(scale * logits / cap)
    const AxpyArgs down{nullptr, ws_.logits, n, 0.0f, c.logits_scale / c.logits_softcap};
    const ActivationArgs squash{ws_.logits, nullptr, ws_.logits, n, ::Activation::tanh};
    const AxpyArgs up{nullptr, ws_.logits, n, 0.0f, c.logits_softcap};
    plan_->kernels.axpy->fn(&down);
    plan_->kernels.activation->fn(&squash);
    plan_->kernels.axpy->fn(&up);
  } else if (c.logits_scale != 1.0f) {
    const AxpyArgs args{nullptr, ws_.logits, n, 0.0f, c.logits_scale};
    plan_->kernels.axpy->fn(&args);
  }
}

}  // namespace minnow::exec
