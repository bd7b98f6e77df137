#include <algorithm>
#include <string>

#include "api/objects.h"
#include "sampling/sampler.h"
#include "text/stop_matcher.h"

namespace minnow::api {
namespace {

Result<sampling::Sampler> make_sampler(const minnow_session& s, const minnow_generate_params& p) {
  constexpr uint32_t kLargest = 0x7fffffff;
  sampling::SamplerParams q;
  q.temperature = p.temperature;
  q.top_k = static_cast<int32_t>(std::min(p.top_k, kLargest));
  q.top_p = p.top_p;
  q.min_p = p.min_p;
  q.repetition_penalty = p.repetition_penalty;
  q.presence_penalty = p.presence_penalty;
  q.frequency_penalty = p.frequency_penalty;
  q.penalty_window = static_cast<int32_t>(std::min(p.penalty_window, kLargest));
  q.seed = p.seed;
  if (p.logit_bias_count > 0) MINNOW_TRY(check_pointer(p.logit_bias, "logit_bias"));
  for (size_t i = 0; i < p.logit_bias_count; ++i)
    q.logit_bias.emplace_back(p.logit_bias[i].token, p.logit_bias[i].bias);
  MINNOW_ASSIGN(sampling::Sampler sampler,
                sampling::Sampler::create(q, static_cast<int32_t>(s.model->config().vocab_size)));
  for (int32_t token : s.tokens) sampler.accept(token);
  return sampler;
}

Result<text::StopMatcher> make_matcher(const minnow_generate_params& p) {
  std::vector<std::string> stops;
  if (p.stop_count > 0) MINNOW_TRY(check_pointer(p.stop, "stop"));
  for (size_t i = 0; i < p.stop_count; ++i) {
    MINNOW_TRY(check_pointer(p.stop[i], "a stop string"));
    stops.emplace_back(p.stop[i]);
  }
  return text::StopMatcher(std::move(stops));
}

/// Sampled tokens to text for the caller: whole characters, stop strings held back.
class TextOut {
 public:
  TextOut(const minnow_session& s, text::StopMatcher matcher, minnow_text_fn function, void* user)
      : matcher_(std::move(matcher)), function_(function), user_(user) {
    const text::Tokenizer* tokenizer = s.model->tokenizer.get();
    if (tokenizer == nullptr) return;
    // A text begins here when nothing but BOS and its like stands before it.
    const bool at_start =
        std::all_of(s.tokens.begin(), s.tokens.end(), [&](int32_t t) { return tokenizer->is_special(t); });
    decoder_.emplace(*tokenizer, /*skip_special=*/true, at_start);
  }

  /// False: the callback wants no more.
  bool token(int32_t id) {
    piece_.clear();
    text_.clear();
    if (decoder_) decoder_->push(id, piece_);
    stopped_ = matcher_.push(piece_, text_);
    return hand_out(id, !decoder_.has_value());
  }

  bool finish(int32_t last) {
    piece_.clear();
    text_.clear();
    if (decoder_) decoder_->flush(piece_);
    if (!stopped_) stopped_ = matcher_.push(piece_, text_);
    if (!stopped_) matcher_.flush(text_);
    return hand_out(last, false);
  }

  bool stopped() const { return stopped_; }

 private:
  bool hand_out(int32_t id, bool also_empty) {
    if (function_ == nullptr || (text_.empty() && !also_empty)) return true;
    return function_(user_, text_.data(), text_.size(), id) == 0;
  }

  text::StopMatcher matcher_;
  std::optional<text::StreamDecoder> decoder_;
  minnow_text_fn function_;
  void* user_;
  std::string piece_, text_;
  bool stopped_ = false;
};

Status generate(minnow_session& s, const minnow_generate_params& p, minnow_text_fn on_text, void* user,
                minnow_generate_result& result) {
  MINNOW_ASSIGN(sampling::Sampler sampler, make_sampler(s, p));
  MINNOW_ASSIGN(text::StopMatcher matcher, make_matcher(p));
  MINNOW_TRY(restore_logits(s));
  if (!s.has_logits)
    return fail(Code::bad_state, "there is nothing to continue: prefill at least one token first");
  TextOut out(s, std::move(matcher), on_text, user);
  const double start = now();
  result.reason = MINNOW_STOP_LENGTH;
  int32_t token = -1;
  while (result.generated_tokens < p.max_tokens) {
    if (s.tokens.size() >= s.options.context) {
      result.reason = MINNOW_STOP_CONTEXT;
      break;
    }
    if (s.pending()) MINNOW_TRY(append_tokens(s, {}, nullptr, {}));
    MINNOW_ASSIGN(token, sampler.sample(s.decoder->logits()));
    if (p.ignore_eos == 0 && s.model->is_eos(token)) {
      result.reason = MINNOW_STOP_EOS;
      break;
    }
    sampler.accept(token);
    s.tokens.push_back(token);  // goes through the decoder when its logits are needed
    s.publish_position();
    ++result.generated_tokens;
    if (!out.token(token)) {
      result.reason = MINNOW_STOP_CALLBACK;
      break;
    }
    if (out.stopped()) {
      result.reason = MINNOW_STOP_STRING;
      break;
    }
  }
  if (result.reason != MINNOW_STOP_CALLBACK) {
    out.finish(token);
    if (out.stopped()) result.reason = MINNOW_STOP_STRING;
  }
  result.decode_seconds = now() - start;
  return {};
}

/// Keeps what the session already holds of the prompt, prefills the rest.
Status take_prompt(minnow_session& s, std::span<const int32_t> prompt, minnow_generate_result& result) {
  if (prompt.empty())
    return fail(Code::invalid_argument, "the prompt has no tokens and the model no BOS to begin with");
  const auto end = std::mismatch(prompt.begin(), prompt.end(), s.tokens.begin(), s.tokens.end()).first;
  auto keep = static_cast<size_t>(end - prompt.begin());
  const bool all = keep == prompt.size() && s.tokens.size() == keep && (s.has_logits || s.pending());
  if (all) return {};
  if (keep == prompt.size()) --keep;  // the logits behind the last token are needed
  s.tokens.resize(keep);
  s.decoder->rewind(static_cast<uint32_t>(keep));
  s.has_logits = false;
  // A kept token that never went through the decoder is prefilled with the rest.
  const size_t from = std::min<size_t>(keep, s.decoder->position());
  s.tokens.resize(from);
  const double start = now();
  MINNOW_TRY(append_tokens(s, prompt.subspan(from), nullptr, {}));
  result.prompt_tokens = static_cast<uint32_t>(prompt.size() - from);
  result.prefill_seconds = now() - start;
  return {};
}

Status run(minnow_session* session, const std::vector<int32_t>* prompt, const minnow_generate_params* params,
           minnow_text_fn on_text, void* user, minnow_generate_result* result) {
  MINNOW_ASSIGN(const minnow_generate_params p,
                read_params(params, minnow_generate_params_default(), "minnow_generate_params"));
  minnow_generate_result r{};
  if (prompt != nullptr) MINNOW_TRY(take_prompt(*session, *prompt, r));
  MINNOW_TRY(generate(*session, p, on_text, user, r));
  return result == nullptr ? Status() : write_report(result, r, "result");
}

}  // namespace
}  // namespace minnow::api

using namespace minnow;
using namespace minnow::api;

extern "C" {

minnow_generate_params minnow_generate_params_default(void) {
  minnow_generate_params p{};
  p.struct_size = sizeof p;
  p.max_tokens = 128;
  p.temperature = 0.8f;
  p.top_k = 40;
  p.top_p = 0.95f;
  p.min_p = 0.05f;
  p.repetition_penalty = 1.0f;
  p.penalty_window = 64;
  return p;
}

minnow_status minnow_generate(minnow_session* session, const minnow_generate_params* params,
                              minnow_text_fn on_text, void* user, minnow_generate_result* result) {
  return guard([&]() -> Status {
    MINNOW_TRY(check_handle(session, kSessionMagic, "session"));
    const Entry entry(*session);
    MINNOW_TRY(entry.status());
    return run(session, nullptr, params, on_text, user, result);
  });
}

minnow_status minnow_generate_tokens(minnow_session* session, const int32_t* prompt, size_t count,
                                     const minnow_generate_params* params, minnow_text_fn on_text, void* user,
                                     minnow_generate_result* result) {
  return guard([&]() -> Status {
    MINNOW_TRY(check_handle(session, kSessionMagic, "session"));
    MINNOW_TRY(check_pointer(prompt, "prompt"));
    const Entry entry(*session);
    MINNOW_TRY(entry.status());
    const std::vector<int32_t> tokens(prompt, prompt + count);
    return run(session, &tokens, params, on_text, user, result);
  });
}

minnow_status minnow_generate_text(minnow_session* session, const char* prompt,
                                   const minnow_generate_params* params, minnow_text_fn on_text, void* user,
                                   minnow_generate_result* result) {
  return guard([&]() -> Status {
    MINNOW_TRY(check_handle(session, kSessionMagic, "session"));
    MINNOW_TRY(check_pointer(prompt, "prompt"));
    const Entry entry(*session);
    MINNOW_TRY(entry.status());
    if (session->model->tokenizer == nullptr) {
      return fail(Code::unsupported, "this model carries no tokenizer; use minnow_generate_tokens");
    }
    std::vector<int32_t> tokens;
    MINNOW_TRY(
        session->model->tokenizer->encode(prompt, /*add_special=*/true, /*parse_special=*/false, tokens));
    const int32_t bos = session->model->container->metadata().bos_id;
    if (tokens.empty() && bos >= 0) tokens.push_back(bos);
    return run(session, &tokens, params, on_text, user, result);
  });
}

}  // extern "C"
