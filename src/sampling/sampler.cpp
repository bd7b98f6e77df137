#include "sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace minnow::sampling {
namespace {

template <typename T>
Status out_of_range(std::string_view name, T value, std::string_view range) {
  return fail(Code::invalid_argument, name, " is ", value, "; it must be ", range);
}

/// A linear order, so that results do not depend on the library's sort.
template <typename C>
bool likelier(const C& a, const C& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

Status check(const SamplerParams& p, int32_t vocab_size) {
  if (vocab_size < 1) return out_of_range("the vocabulary size", vocab_size, "at least 1");
  // Written so that NaN fails each test.
  if (!(p.temperature >= 0.0f && p.temperature <= 100.0f)) {
    return out_of_range("temperature", p.temperature, "between 0 and 100");
  }
  if (p.top_k < 0) return out_of_range("top_k", p.top_k, "0 (off) or more");
  if (!(p.top_p > 0.0f && p.top_p <= 1.0f))
    return out_of_range("top_p", p.top_p, "above 0 and at most 1 (off)");
  if (!(p.min_p >= 0.0f && p.min_p <= 1.0f)) return out_of_range("min_p", p.min_p, "between 0 (off) and 1");
  if (!(p.repetition_penalty > 0.0f && p.repetition_penalty <= 100.0f)) {
    return out_of_range("repetition_penalty", p.repetition_penalty, "above 0 and at most 100; 1 is off");
  }
  if (!(std::fabs(p.presence_penalty) <= 100.0f)) {
    return out_of_range("presence_penalty", p.presence_penalty, "between -100 and 100");
  }
  if (!(std::fabs(p.frequency_penalty) <= 100.0f)) {
    return out_of_range("frequency_penalty", p.frequency_penalty, "between -100 and 100");
  }
  if (p.penalty_window < 0 || p.penalty_window > 65535) {
    return out_of_range("penalty_window", p.penalty_window, "between 0 and 65535");
  }
  for (const auto& [id, bias] : p.logit_bias) {
    if (id < 0 || id >= vocab_size) {
      return fail(Code::invalid_argument, "logit_bias names token ", id, " of a vocabulary of ", vocab_size);
    }
    if (std::isnan(bias) || bias == std::numeric_limits<float>::infinity()) {
      return out_of_range("a logit_bias", bias, "a number or -inf");
    }
  }
  return {};
}

}  // namespace

Rng::Rng(uint64_t seed) {
  // One splitmix step spreads small seeds over the state.
  uint64_t z = seed + 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  state_ = z ^ (z >> 31);
  next();
}

uint32_t Rng::next() {
  const uint64_t old = state_;
  state_ = old * 6364136223846793005ull + 1442695040888963407ull;
  const auto shifted = static_cast<uint32_t>(((old >> 18) ^ old) >> 27);
  const auto rotation = static_cast<uint32_t>(old >> 59);
  return (shifted >> rotation) | (shifted << ((32 - rotation) & 31));
}

double Rng::uniform() {
  const uint64_t high = next();
  const uint64_t bits = (high << 32 | next()) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

Result<Sampler> Sampler::create(const SamplerParams& params, int32_t vocab_size) {
  MINNOW_TRY(check(params, vocab_size));
  Sampler s;
  s.params_ = params;
  s.rng_ = Rng(params.seed);
  const auto n = static_cast<size_t>(vocab_size);
  s.logits_.resize(n);
  s.candidates_.resize(n);
  s.candidates_.clear();
  s.weights_.resize(n);
  s.counts_.resize(n);
  s.penalised_at_.resize(n);
  s.recent_.resize(static_cast<size_t>(params.penalty_window));
  return s;
}

void Sampler::accept(int32_t token) {
  if (recent_.empty() || token < 0 || static_cast<size_t>(token) >= counts_.size()) return;
  if (recent_size_ == recent_.size()) {
    --counts_[static_cast<size_t>(recent_[recent_next_])];
  } else {
    ++recent_size_;
  }
  recent_[recent_next_] = token;
  ++counts_[static_cast<size_t>(token)];
  recent_next_ = (recent_next_ + 1) % recent_.size();
}

void Sampler::reset() {
  std::fill(counts_.begin(), counts_.end(), uint16_t{0});
  recent_next_ = recent_size_ = 0;
  rng_ = Rng(params_.seed);
}

bool Sampler::penalised() const {
  return params_.repetition_penalty != 1.0f || params_.presence_penalty != 0.0f ||
         params_.frequency_penalty != 0.0f;
}

/// Copies the logits with penalties and bias applied.
Status Sampler::load(std::span<const float> logits) {
  if (logits.size() != logits_.size()) {
    return fail(Code::invalid_argument, "sampling from ", logits.size(), " logits, but the vocabulary has ",
                logits_.size());
  }
  std::copy(logits.begin(), logits.end(), logits_.begin());
  if (penalised()) {
    ++epoch_;
    for (size_t i = 0; i < recent_size_; ++i) {
      const auto id = static_cast<size_t>(recent_[i]);
      if (std::exchange(penalised_at_[id], epoch_) == epoch_) continue;  // each distinct token once
      float& l = logits_[id];
      l = l > 0.0f ? l / params_.repetition_penalty : l * params_.repetition_penalty;
      l -= params_.presence_penalty + params_.frequency_penalty * static_cast<float>(counts_[id]);
    }
  }
  for (const auto& [id, bias] : params_.logit_bias) logits_[static_cast<size_t>(id)] += bias;

  bool any = false;
  for (size_t i = 0; i < logits_.size(); ++i) {
    if (std::isnan(logits_[i]) || logits_[i] == std::numeric_limits<float>::infinity()) {
      return fail(Code::internal, "the logit of token ", i, " is ", logits_[i],
                  "; the model's weights or activations are damaged");
    }
    any = any || logits_[i] != -std::numeric_limits<float>::infinity();
  }
  if (!any) return fail(Code::internal, "every token is banned: all logits are -inf");
  return {};
}

void Sampler::keep_top_k() {
  const auto k = static_cast<size_t>(params_.top_k);
  if (k == 0 || k >= candidates_.size()) return;
  std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(k),
                   candidates_.end(), likelier<Candidate>);
  candidates_.resize(k);
}

int32_t Sampler::draw() {
  const double top =
      std::max_element(candidates_.begin(), candidates_.end(), [](const auto& a, const auto& b) {
        return a.logit < b.logit;
      })->logit;
  const auto weight = [&](const Candidate& c) { return std::exp((c.logit - top) / params_.temperature); };
  // Top-p and min-p both keep the head of the sorted list, so min-p, which needs no sorting, may come
  // first as long as top-p's share is taken of the sum over all.
  double sum = 0.0;
  size_t kept = 0;
  for (size_t i = 0; i < candidates_.size(); ++i) {
    const double w = weight(candidates_[i]);
    sum += w;
    if (w >= static_cast<double>(params_.min_p)) candidates_[kept++] = candidates_[i];
  }
  candidates_.resize(kept);
  std::sort(candidates_.begin(), candidates_.end(), likelier<Candidate>);
  const double wanted = params_.top_p < 1.0f ? static_cast<double>(params_.top_p) * sum : 2.0 * sum;
  double held = 0.0;
  for (size_t i = 0; i < kept; ++i) {
    weights_[i] = weight(candidates_[i]);
    held += weights_[i];
    if (held >= wanted) kept = i + 1;
  }
  double left = rng_.uniform() * held;
  for (size_t i = 0; i < kept; ++i) {
    left -= weights_[i];
    if (left < 0.0) return candidates_[i].id;
  }
  return candidates_.front().id;  // rounding at the very end of the interval
}

Result<int32_t> Sampler::sample(std::span<const float> logits) {
  MINNOW_TRY(load(logits));
  if (params_.temperature == 0.0f) {
    // max_element gives the first, that is the lowest id, among equals.
    return static_cast<int32_t>(std::max_element(logits_.begin(), logits_.end()) - logits_.begin());
  }
  candidates_.clear();
  for (size_t i = 0; i < logits_.size(); ++i) {
    if (logits_[i] == -std::numeric_limits<float>::infinity()) continue;
    candidates_.push_back({logits_[i], static_cast<int32_t>(i)});
  }
  keep_top_k();
  return draw();
}

namespace {

struct Summed {
  double top, log_sum;  ///< log(sum(exp(l))) is their sum, kept apart because top may be huge
};

Summed sum_exp(std::span<const float> logits) {
  double top = -std::numeric_limits<double>::infinity();
  for (const float l : logits) {
    if (std::isnan(l)) return {std::numeric_limits<double>::quiet_NaN(), 0.0};
    top = std::max(top, static_cast<double>(l));
  }
  if (std::isinf(top)) return {top, 0.0};
  double sum = 0.0;
  for (const float l : logits) sum += std::exp(static_cast<double>(l) - top);
  return {top, std::log(sum)};
}

}  // namespace

double log_sum_exp(std::span<const float> logits) {
  const Summed s = sum_exp(logits);
  return s.top + s.log_sum;
}

double log_softmax(std::span<const float> logits, int32_t token) {
  if (token < 0 || static_cast<size_t>(token) >= logits.size())
    return std::numeric_limits<double>::quiet_NaN();
  const Summed s = sum_exp(logits);
  return static_cast<double>(logits[static_cast<size_t>(token)]) - s.top - s.log_sum;
}

}  // namespace minnow::sampling
