// Chooses the next token from logits.
//
// Order of operations, fixed: penalties, logit bias, temperature, top-k, top-p, min-p, draw.
// Goals: the same seed gives the same tokens on every platform; sample() allocates nothing; a logit
// that is not a number is an error, never a token. Non-goals: grammars, beam search.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/status.h"

namespace minnow::sampling {

struct SamplerParams {
  float temperature = 0.8f;         ///< 0: greedy, the lowest id among equals
  int32_t top_k = 40;               ///< keep the k likeliest; 0: all
  float top_p = 0.95f;              ///< keep the likeliest until they hold this probability; 1: all
  float min_p = 0.05f;              ///< drop what is below this share of the likeliest; 0: none
  float repetition_penalty = 1.0f;  ///< divides positive, multiplies negative logits of recent tokens
  float presence_penalty = 0.0f;    ///< subtracted once from each recent token
  float frequency_penalty = 0.0f;   ///< subtracted once per recent occurrence
  int32_t penalty_window = 64;      ///< how many accepted tokens are recent; 0: none
  uint64_t seed = 0;
  std::vector<std::pair<int32_t, float>> logit_bias;  ///< id, added to its logit (-inf bans it)
};

/// PCG32: 64 bits of state, the same stream everywhere.
class Rng {
 public:
  explicit Rng(uint64_t seed = 0);
  uint32_t next();
  double uniform();  ///< in [0, 1), 53 bits

 private:
  uint64_t state_ = 0;
};

/// One sequence's sampler. Not thread-safe.
class Sampler {
 public:
  /// Errors: invalid_argument, with the parameter, its value and its range.
  static Result<Sampler> create(const SamplerParams& params, int32_t vocab_size);

  /// The next token. `logits` has vocab_size values and is not changed. Does not accept the token.
  /// Errors: invalid_argument (wrong size), internal (a NaN, +inf, or nothing but -inf).
  Result<int32_t> sample(std::span<const float> logits);
  /// Records a token as recent, for the penalties: prompt and sampled tokens alike.
  void accept(int32_t token);
  /// Forgets the recent tokens and starts the random stream anew.
  void reset();

  const SamplerParams& params() const { return params_; }

 private:
  struct Candidate {
    float logit;
    int32_t id;
  };
  Sampler() = default;
  Status load(std::span<const float> logits);
  bool penalised() const;
  void keep_top_k();
  int32_t draw();

  SamplerParams params_;
  Rng rng_;
  std::vector<Candidate> candidates_;
  std::vector<double> weights_;
  std::vector<float> logits_;
  std::vector<uint16_t> counts_;        ///< occurrences of each token among the recent ones
  std::vector<uint64_t> penalised_at_;  ///< the epoch_ in which a token was last penalised
  uint64_t epoch_ = 0;
  std::vector<int32_t> recent_;  ///< ring buffer
  size_t recent_next_ = 0, recent_size_ = 0;
};

/// log(softmax(logits)[token]), accumulated in double. NaN if a logit is NaN or the id is outside.
double log_softmax(std::span<const float> logits, int32_t token);
/// log(sum(exp(logits))) in double.
double log_sum_exp(std::span<const float> logits);

}  // namespace minnow::sampling
