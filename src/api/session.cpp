#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "api/objects.h"
#include "exec/key_index.h"
#include "sampling/sampler.h"

namespace minnow::api {
namespace {

constexpr uint32_t kDefaultContext = 4096, kLargestContext = 1u << 24, kDefaultChunk = 256, kScoreRows = 32;

Result<exec::DecoderOptions> options_from(const Model& model, const minnow_session_params& p) {
  const format::Config& c = model.config();
  const bool has_thresholds = !model.plan->masks.empty();
  exec::DecoderOptions o;
  if (p.context > kLargestContext)
    return fail(Code::invalid_argument, "a context of ", p.context, " tokens is beyond what minnow can hold");
  if (p.kv_type != MINNOW_KV_F32 && p.kv_type != MINNOW_KV_F16 && p.kv_type != MINNOW_KV_Q8) {
    return fail(Code::invalid_argument, "kv_type ", int(p.kv_type), " is not known");
  }
  o.context = p.context != 0 ? p.context : std::min(c.max_context, kDefaultContext);
  o.chunk = std::min(p.prefill_chunk != 0 ? p.prefill_chunk : kDefaultChunk, 4096u);
  o.kv = static_cast<kv::Type>(p.kv_type);
  if (p.sparsity != MINNOW_SPARSITY_AUTO && p.sparsity != MINNOW_SPARSITY_ON &&
      p.sparsity != MINNOW_SPARSITY_OFF) {
    return fail(Code::invalid_argument, "sparsity ", int(p.sparsity), " is not known");
  }
  o.sparsity = p.sparsity == MINNOW_SPARSITY_ON || (p.sparsity == MINNOW_SPARSITY_AUTO && has_thresholds);
  o.threshold_scale = p.sparsity_scale;
  o.mask_prompts = p.sparsity_prompts != 0;
  if (p.retrieval != MINNOW_RETRIEVAL_AUTO && p.retrieval != MINNOW_RETRIEVAL_ON &&
      p.retrieval != MINNOW_RETRIEVAL_OFF) {
    return fail(Code::invalid_argument, "retrieval ", int(p.retrieval), " is not known");
  }
  if (p.retrieval == MINNOW_RETRIEVAL_ON && model.plan->centroids == 0) {
    return fail(Code::unsupported,
                "retrieval was asked for, but this model has no codebooks; make some with "
                "`minnow compress M.mnw -o N.mnw --retrieval`");
  }
  if (!(p.retrieval_fraction > 0.0f) || p.retrieval_fraction > 1.0f) {
    return fail(Code::invalid_argument, "a retrieval fraction of ", p.retrieval_fraction,
                " was asked for; it lies above 0 and is at most 1");
  }
  o.retrieval.on = p.retrieval != MINNOW_RETRIEVAL_OFF && model.plan->centroids != 0;
  o.retrieval.from = p.retrieval_from;
  o.retrieval.fraction = p.retrieval_fraction;
  o.retrieval.budget = p.retrieval_budget;
  o.retrieval.measure = p.retrieval_measure != 0;
  o.kv_budget = p.kv_budget;
  o.kv_dir = p.kv_dir != nullptr ? p.kv_dir : "";
  if (o.kv_budget != 0 && o.kv_dir.empty()) {
    return fail(Code::invalid_argument, "a kv_budget of ", p.kv_budget,
                " bytes was given, but no kv_dir for the file that takes what is beyond it");
  }
  if (o.kv_budget == 0 && !o.kv_dir.empty()) {
    return fail(Code::invalid_argument, "kv_dir '", o.kv_dir,
                "' was given, but no kv_budget: all KV would stay in memory");
  }
  return o;
}

/// A forward pass that scores given tokens, for minnow_score.
class ScoreSink : public exec::LogitsSink {
 public:
  ScoreSink(std::span<const int32_t> tokens, float* out) : tokens_(tokens), out_(out) {}
  Status row(size_t index, std::span<const float> logits) override {
    if (index + 1 < tokens_.size())
      out_[index + 1] = static_cast<float>(sampling::log_softmax(logits, tokens_[index + 1]));
    return {};
  }

 private:
  std::span<const int32_t> tokens_;
  float* out_;
};

class CallbackSink : public exec::LogitsSink {
 public:
  CallbackSink(minnow_logits_fn function, void* user) : function_(function), user_(user) {}
  Status row(size_t index, std::span<const float> logits) override {
    return function_(user_, index, logits.data(), logits.size()) == 0
               ? Status()
               : fail(Code::cancelled, "the callback stopped");
  }

 private:
  minnow_logits_fn function_;
  void* user_;
};

struct ProgressBridge {
  minnow_progress_fn function;
  void* user;
  static bool report(void* self, float done) {
    const auto* bridge = static_cast<ProgressBridge*>(self);
    return bridge->function(bridge->user, done) != 0;
  }
};

Status check_session(const minnow_session* session) {
  return check_handle(session, kSessionMagic, "session");
}

/// A decoder for scoring holds several rows of logits; made when a session first scores.
Status make_decoder(minnow_session& s, uint32_t logit_rows) {
  exec::DecoderOptions options = s.options;
  options.logit_rows = logit_rows;
  options.state = &s.state;
  if (options.sparsity) {
    MINNOW_ASSIGN(options.listing, s.model->listing_limits());
  }
  MINNOW_ASSIGN(exec::Decoder decoder,
                exec::Decoder::create(*s.model->plan, *s.model->engine->pool, options));
  if (s.decoder != nullptr) {
    MINNOW_TRY(decoder.copy_from(*s.decoder));
    decoder.continue_counts(*s.decoder);
  }
  s.decoder = std::make_unique<exec::Decoder>(std::move(decoder));
  s.options.logit_rows = logit_rows;  // nothing else, as other threads may be reading the context
  return {};
}

Result<std::unique_ptr<minnow_session>> make_session(std::shared_ptr<Model> model,
                                                     const minnow_session_params& params) {
  auto s = std::make_unique<minnow_session>();
  s->model = std::move(model);
  s->params = params;
  MINNOW_ASSIGN(s->options, options_from(*s->model, params));
  s->params.kv_dir = s->options.kv_dir.empty() ? nullptr : s->options.kv_dir.c_str();  // for forks
  MINNOW_TRY(make_decoder(*s, 1));
  s->tokens.reserve(s->options.context);
  return s;
}

}  // namespace

Status append_tokens(minnow_session& s, std::span<const int32_t> tokens, exec::LogitsSink* sink,
                     exec::Progress progress) {
  if (s.pending()) {  // the token sampled last, which nobody needed the logits of until now
    const int32_t last = s.tokens.back();
    s.tokens.pop_back();
    if (Status status = append_tokens(s, {&last, 1}, nullptr, {}); !status.ok()) {
      s.tokens.push_back(last);  // its text was handed out already: it stays pending
      return status;
    }
  }
  if (tokens.empty()) return {};
  const double start = now();
  const uint32_t before = s.decoder->position();
  const bool had_logits = std::exchange(s.has_logits, false);
  Status status = s.decoder->forward(tokens, sink, progress);
  const uint32_t added = s.decoder->position() - before;
  s.tokens.insert(s.tokens.end(), tokens.begin(), tokens.begin() + added);
  s.publish_position();
  // Refused tokens change nothing, so the logits behind the last one are still there.
  const bool refused = status.code() == Code::invalid_argument || status.code() == Code::context_full;
  s.has_logits = status.ok() || (refused && had_logits);
  const double seconds = now() - start;
  if (tokens.size() == 1) {
    s.decoded += added;
    s.decode_seconds += seconds;
  } else {
    s.prefilled += added;
    s.prefill_seconds += seconds;
  }
  return status;
}

Status restore_logits(minnow_session& s) {
  MINNOW_TRY(append_tokens(s, {}, nullptr, {}));
  if (s.has_logits || s.tokens.empty()) return {};
  s.decoder->rewind(static_cast<uint32_t>(s.tokens.size() - 1));  // the last token is pending now
  return append_tokens(s, {}, nullptr, {});
}

}  // namespace minnow::api

using namespace minnow;
using namespace minnow::api;

extern "C" {

minnow_session_params minnow_session_params_default(void) {
  const exec::RetrievalOptions o;
  return {sizeof(minnow_session_params),
          0,
          0,
          MINNOW_KV_F16,
          MINNOW_SPARSITY_AUTO,
          1.0f,
          0,
          MINNOW_RETRIEVAL_AUTO,
          o.from,
          o.fraction,
          o.budget,
          0,
          nullptr,
          0};
}

minnow_status minnow_plan(minnow_engine* engine, const char* path, const minnow_session_params* params,
                          uint64_t budget, minnow_plan_report* report) {
  return guard([&]() -> Status {
    MINNOW_TRY(check_handle(engine, kEngineMagic, "engine"));
    MINNOW_TRY(check_pointer(path, "path"));
    MINNOW_ASSIGN(minnow_session_params p,
                  read_params(params, minnow_session_params_default(), "minnow_session_params"));
    MINNOW_ASSIGN(MappedFile file, MappedFile::open(path));
    auto opened = open_model(engine->impl, std::move(file), /*with_tokenizer=*/false);
    if (!opened.ok()) return std::move(opened).status().within(path);
    const Model& model = **opened;
    const format::Config& c = model.config();
    MINNOW_ASSIGN(const exec::DecoderOptions o, options_from(model, p));
    const uint64_t weights = model.container->file_size();
    const auto layers = static_cast<uint32_t>(model.plan->layers.size());
    const auto indexed = [&](uint32_t context) {
      exec::DecoderOptions with = o;
      with.context = context;
      return exec::indexes(*model.plan, with);
    };
    const auto index = [&](uint32_t context) {
      return indexed(context) ? exec::index_shape(*model.plan, context).bytes() : 0;
    };
    const auto rows = [&](uint32_t context) {
      return kv::Shape{layers, c.kv_head_count, c.head_dim, context, o.kv};
    };
    const auto kv = [&](uint32_t context) { return rows(context).bytes() + index(context); };
    const auto workspace = [&](uint32_t context) {
      exec::WorkspaceShape shape{std::min(o.chunk, context), context, engine->impl->pool->threads()};
      shape.retrieval = indexed(context);
      return exec::Workspace::bytes(*model.plan, shape);
    };
    minnow_plan_report r{};
    r.context = o.context;
    r.weights = weights;
    r.kv_cache = kv(o.context);
    r.workspace = workspace(o.context);
    MINNOW_ASSIGN(const uint32_t in_memory,
                  kv::layers_in_memory(rows(o.context), index(o.context), o.kv_budget));
    r.kv_file = (layers - in_memory) * rows(o.context).layer_bytes();
    r.total = r.weights + r.kv_cache - r.kv_file + r.workspace;
    // What stays in memory goes up and down with the layers that fit; the budget bounds it.
    const auto fits = [&](uint32_t context) {
      const uint64_t in = o.kv_budget == 0 ? kv(context) : std::min(kv(context), o.kv_budget);
      return (o.kv_budget == 0 || index(context) <= o.kv_budget) &&
             weights + in + workspace(context) <= budget;
    };
    uint32_t low = 0,
             high = budget == 0
                        ? 0
                        : std::min(c.max_context,
                                   kLargestContext);  // largest context within the budget, by bisection
    while (low < high) {
      const uint32_t middle = low + (high - low + 1) / 2;
      if (fits(middle)) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    r.context_that_fits = low;
    return write_report(report, r, "report");
  });
}

minnow_status minnow_session_create(minnow_model* model, const minnow_session_params* params,
                                    minnow_session** out) {
  return guard([&]() -> Status {
    MINNOW_TRY(check_handle(model, kModelMagic, "model"));
    MINNOW_TRY(check_pointer(out, "out"));
    MINNOW_ASSIGN(const minnow_session_params p,
                  read_params(params, minnow_session_params_default(), "minnow_session_params"));
    MINNOW_ASSIGN(auto session, make_session(model->impl, p));
    *out = session.release();
    return {};
  });
}

minnow_status minnow_session_fork(const minnow_session* session, minnow_session** out) {
  return guard([&]() -> Status {
    MINNOW_TRY(check_session(session));
    MINNOW_TRY(check_pointer(out, "out"));
    const Entry entry(*session);
    MINNOW_TRY(entry.status());
    MINNOW_ASSIGN(auto fork, make_session(session->model, session->params));
    MINNOW_TRY(fork->decoder->copy_from(*session->decoder));
    fork->decoder->switch_retrieval(session->decoder->retrieval_on());
    fork->tokens.assign(session->tokens.begin(), session->tokens.end());
    fork->has_logits = session->has_logits;
    fork->publish_position();
    *out = fork.release();
    return {};
  });
}

void minnow_session_destroy(minnow_session* session) {
  if (session == nullptr || session->magic != kSessionMagic) return;
  session->magic = 0;
  delete session;
}

minnow_status minnow_prefill(minnow_session* session, const int32_t* tokens, size_t count,
                             minnow_progress_fn progress, void* user) {
  return guard([&]() -> Status {
    MINNOW_TRY(check_session(session));
    MINNOW_TRY(check_pointer(tokens, "tokens"));
    if (count == 0) return fail(Code::invalid_argument, "no tokens were given");
    const Entry entry(*session);
    MINNOW_TRY(entry.status());
    ProgressBridge bridge{progress, user};
    return append_tokens(
        *session, {tokens, count}, nullptr,
        progress == nullptr ? exec::Progress{} : exec::Progress{&ProgressBridge::report, &bridge});
  });
}

minnow_status minnow_decode(minnow_session* session, int32_t token) {
  return minnow_prefill(session, &token, 1, nullptr, nullptr);
}

minnow_status minnow_logits(const minnow_session* session, const float** logits, size_t* count) {
  return guard([&]() -> Status {
    MINNOW_TRY(check_session(session));
    MINNOW_TRY(check_pointer(logits, "logits"));
    MINNOW_TRY(check_pointer(count, "count"));
    const Entry entry(*session);
    MINNOW_TRY(entry.status());
    if (!session->has_logits || session->pending()) {
      return fail(Code::bad_state, "there are no logits: prefill or decode a token first");
    }
    *logits = session->decoder->logits().data();
    *count = session->decoder->logits().size();
    return {};
  });
}

minnow_status minnow_score(minnow_session* session, const int32_t* tokens, size_t count, float* log_probs) {
  return guard([&]() -> Status {
    MINNOW_TRY(check_session(session));
    MINNOW_TRY(check_pointer(tokens, "tokens"));
    MINNOW_TRY(check_pointer(log_probs, "log_probs"));
    const Entry entry(*session);
    MINNOW_TRY(entry.status());
    if (count == 0) return fail(Code::invalid_argument, "no tokens were given");
    if (session->options.logit_rows < kScoreRows) MINNOW_TRY(make_decoder(*session, kScoreRows));
    MINNOW_TRY(restore_logits(*session));
    std::vector<float> scores;  // the caller's array is written only on success
    scores.push_back(session->has_logits
                         ? static_cast<float>(sampling::log_softmax(session->decoder->logits(), tokens[0]))
                         : std::numeric_limits<float>::quiet_NaN());
    scores.resize(count);
    ScoreSink sink({tokens, count}, scores.data());
    MINNOW_TRY(append_tokens(*session, {tokens, count}, &sink, {}));
    std::copy(scores.begin(), scores.end(), log_probs);
    return {};
  });
}

minnow_status minnow_prefill_logits(minnow_session* session, const int32_t* tokens, size_t count,
                                    minnow_logits_fn on_logits, void* user) {
  return guard([&]() -> Status {
    MINNOW_TRY(check_session(session));
    MINNOW_TRY(check_pointer(tokens, "tokens"));
    if (on_logits == nullptr) return fail(Code::invalid_argument, "on_logits is NULL");
    if (count == 0) return fail(Code::invalid_argument, "no tokens were given");
    const Entry entry(*session);
    MINNOW_TRY(entry.status());
    if (session->options.logit_rows < kScoreRows) MINNOW_TRY(make_decoder(*session, kScoreRows));
    CallbackSink sink(on_logits, user);
    return append_tokens(*session, {tokens, count}, &sink, {});
  });
}

uint32_t minnow_session_position(const minnow_session* session) {
  return check_session(session).ok() ? session->position.load(std::memory_order_relaxed) : 0;
}

uint32_t minnow_session_context(const minnow_session* session) {
  return check_session(session).ok() ? session->options.context : 0;
}

minnow_status minnow_session_rewind(minnow_session* session, uint32_t position) {
  return guard([&]() -> Status {
    MINNOW_TRY(check_session(session));
    const Entry entry(*session);
    MINNOW_TRY(entry.status());
    if (position > session->tokens.size()) {
      return fail(Code::invalid_argument, "cannot rewind to ", position, ", the sequence has ",
                  session->tokens.size(), " tokens");
    }
    if (position == session->tokens.size()) return {};
    session->tokens.resize(position);
    session->decoder->rewind(position);
    session->has_logits = false;
    return {};
  });
}

minnow_status minnow_session_set_retrieval(minnow_session* session, int on) {
  return guard([&]() -> Status {
    MINNOW_TRY(check_session(session));
    const Entry entry(*session);
    MINNOW_TRY(entry.status());
    if (!session->decoder->has_index()) {
      return fail(
          Code::unsupported,
          "the session keeps no retrieval index: retrieval was off when it was made, the model has no "
          "codebooks, or its ",
          "context of ", session->options.context, " is not above retrieval_from (",
          session->options.retrieval.from, ")");
    }
    session->decoder->switch_retrieval(on != 0);
    return {};
  });
}

void minnow_session_cancel(minnow_session* session) {
  if (!check_session(session).ok()) return;
  auto running = exec::RunState::running;
  session->state.compare_exchange_strong(running, exec::RunState::cancelled, std::memory_order_relaxed);
}

minnow_status minnow_session_get_stats(const minnow_session* session, minnow_session_stats* stats) {
  return guard([&]() -> Status {
    MINNOW_TRY(check_session(session));
    const Entry entry(*session);
    MINNOW_TRY(entry.status());
    minnow_session_stats r{};
    r.kv_bytes = session->decoder->kv_bytes();
    r.workspace_bytes = session->decoder->workspace_bytes();
    r.tokens_prefilled = session->prefilled, r.tokens_decoded = session->decoded;
    r.prefill_seconds = session->prefill_seconds, r.decode_seconds = session->decode_seconds;
    r.bytes_per_token = session->model->plan->bytes_per_token + session->decoder->kv_bytes_read();
    const exec::SparsityCounts c = session->decoder->sparsity_counts();
    r.weight_bytes_skipped = c.bytes_skipped;
    r.tokens_masked = c.tokens;
    const auto share = [](uint64_t part, uint64_t whole) {
      return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
    };
    r.realised_sparsity = share(c.skipped_weights, c.maskable_weights);
    r.activated_fraction = 1.0 - share(c.skipped_weights, c.tokens * session->model->plan->weights_per_token);
    const exec::RetrievalCounts& seen = session->decoder->retrieval_counts();
    r.index_bytes = session->decoder->index_bytes();
    r.kv_file_bytes = session->decoder->kv_file_bytes();
    r.tokens_retrieved = seen.tokens;
    r.attended_fraction = seen.seen == 0 ? 1.0 : share(seen.attended, seen.seen);
    r.attended_weight = seen.weighed == 0 ? 1.0 : seen.weight / static_cast<double>(seen.weighed);
    return write_report(stats, r, "stats");
  });
}

}  // extern "C"
