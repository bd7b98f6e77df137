// The models most tests run on, compressed once a process.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "support/models.h"

namespace minnow::testing {

/// A compressed model in a file that goes away with the process.
class CompressedModel {
 public:
  CompressedModel(const std::string& source, compress::Storage storage) {
    compress(source, dir_.file("model.mnw"), storage);
  }
  std::string path() const { return dir_.file("model.mnw"); }

 private:
  TempDir dir_;
};

/// Three layers of random weights, vocabulary 320, EOS 2, context 512, no tokenizer.
inline const std::string& tiny_path() {
  static const CompressedModel model(MINNOW_TEST_DATA "/arch/llama-tied-gqa", compress::Storage::w8);
  static const std::string path = model.path();
  return path;
}

/// The bundled model, with a tokenizer: vocabulary 4096, BOS and EOS 0, context 2048.
inline const std::string& books_path() {
  static const CompressedModel model(MINNOW_EXAMPLE_MODELS "/books-7m", compress::Storage::w8);
  static const std::string path = model.path();
  return path;
}

/// Token ids that look random and are the same everywhere.
inline std::vector<int32_t> some_tokens(size_t count, uint32_t seed = 1, uint32_t vocab = 320) {
  std::vector<int32_t> out(count);
  for (int32_t& id : out) {
    seed = seed * 1664525u + 1013904223u;
    id = static_cast<int32_t>(3 + (seed >> 8) % (vocab - 3));
  }
  return out;
}

inline std::vector<float> logits_of(const Session& session) {
  const float* logits = nullptr;
  size_t count = 0;
  EXPECT_EQ(minnow_logits(session.get(), &logits, &count), MINNOW_OK) << minnow_last_error();
  return logits == nullptr ? std::vector<float>() : std::vector<float>(logits, logits + count);
}

inline void prefill(const Session& session, const std::vector<int32_t>& tokens) {
  ASSERT_EQ(minnow_prefill(session.get(), tokens.data(), tokens.size(), nullptr, nullptr), MINNOW_OK)
      << minnow_last_error();
}

/// Largest difference over the spread of `b`; infinite when lengths differ or something is NaN.
inline double relative_difference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size() || a.empty()) return INFINITY;
  double mean = 0.0, square = 0.0, largest = 0.0;
  for (float v : b) mean += double{v} / static_cast<double>(b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    square += (b[i] - mean) * (b[i] - mean);
    const double d = std::fabs(double{a[i]} - double{b[i]});
    largest = d <= largest ? largest : d;
  }
  const double relative = largest / std::sqrt(square / static_cast<double>(b.size()));
  return std::isfinite(relative) ? relative : INFINITY;
}

/// What one call of generation handed out.
struct Generated {
  minnow_status status = MINNOW_INTERNAL;
  minnow_generate_result result{};
  std::string text;
  std::vector<std::string> pieces;
  std::vector<int32_t> tokens;   ///< one a callback: every token, for models without a tokenizer
  size_t stop_after = SIZE_MAX;  ///< callbacks after which to ask for the end
};

inline int keep_piece(void* user, const char* text, size_t length, int32_t token) {
  auto* g = static_cast<Generated*>(user);
  g->pieces.emplace_back(text, length);
  g->text.append(text, length);
  g->tokens.push_back(token);
  return g->pieces.size() >= g->stop_after;
}

inline minnow_generate_params greedy_params(uint32_t max_tokens) {
  minnow_generate_params p = minnow_generate_params_default();
  p.temperature = 0.0f;
  p.max_tokens = max_tokens;
  return p;
}

inline Generated generate_text(const Session& session, const std::string& prompt,
                               const minnow_generate_params& p, size_t stop_after = SIZE_MAX) {
  Generated g;
  g.stop_after = stop_after;
  g.result.struct_size = sizeof g.result;
  g.status = minnow_generate_text(session.get(), prompt.c_str(), &p, keep_piece, &g, &g.result);
  return g;
}

inline Generated generate_tokens(const Session& session, const std::vector<int32_t>& prompt,
                                 const minnow_generate_params& p, size_t stop_after = SIZE_MAX) {
  Generated g;
  g.stop_after = stop_after;
  g.result.struct_size = sizeof g.result;
  g.status =
      minnow_generate_tokens(session.get(), prompt.data(), prompt.size(), &p, keep_piece, &g, &g.result);
  return g;
}

inline Generated continue_text(const Session& session, const minnow_generate_params& p) {
  Generated g;
  g.result.struct_size = sizeof g.result;
  g.status = minnow_generate(session.get(), &p, keep_piece, &g, &g.result);
  return g;
}

inline std::vector<int32_t> tokenize(const Model& model, const std::string& text, bool add_special = false,
                                     bool parse_special = false) {
  std::vector<int32_t> ids(text.size() + 8);
  size_t count = 0;
  EXPECT_EQ(minnow_tokenize(model.get(), text.data(), text.size(), add_special, parse_special, ids.data(),
                            ids.size(), &count),
            MINNOW_OK)
      << minnow_last_error();
  ids.resize(std::min(count, ids.size()));
  return ids;
}

}  // namespace minnow::testing
