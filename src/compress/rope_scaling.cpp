#include "compress/rope_scaling.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace minnow::compress {
namespace {

using format::Rope;

/// theta^(-2j / dim), in double; rounded to f32 once at the end.
std::vector<double> plain_frequencies(const RopeInput& in) {
  std::vector<double> f(in.rotary_dim / 2);
  for (size_t j = 0; j < f.size(); ++j)
    f[j] = std::pow(in.theta, -2.0 * static_cast<double>(j) / in.rotary_dim);
  return f;
}

void store(std::vector<float>& out, const std::vector<double>& f) {
  out.assign(f.begin(), f.end());
}

/// Llama 3.1: long wavelengths slowed by `factor`, short ones kept, a ramp between.
Status llama3(const RopeInput& in, const JsonObject& s, Rope& rope) {
  MINNOW_ASSIGN(const double factor, s.number("factor"));
  MINNOW_ASSIGN(const double low, s.number("low_freq_factor"));
  MINNOW_ASSIGN(const double high, s.number("high_freq_factor"));
  MINNOW_ASSIGN(const double original, s.number("original_max_position_embeddings"));
  if (!(factor > 0) || !(high > low) || !(low > 0) || !(original > 0)) {
    return fail(Code::corrupt, "'", s.name(), "': the llama3 factors contradict each other");
  }
  auto f = plain_frequencies(in);
  for (double& v : f) {
    const double wavelength = 2.0 * std::numbers::pi / v;
    if (wavelength > original / low) {
      v /= factor;
    } else if (wavelength >= original / high) {
      const double smooth = (original / wavelength - low) / (high - low);
      v = (1.0 - smooth) * v / factor + smooth * v;
    }
  }
  store(rope.inv_freq, f);
  return {};
}

/// YaRN (arXiv 2309.00071): interpolate the dimensions that turn less than beta_slow times within the
/// original context, keep those that turn more than beta_fast times.
Status yarn(const RopeInput& in, const JsonObject& s, Rope& rope) {
  MINNOW_ASSIGN(const double factor, s.number("factor"));
  MINNOW_ASSIGN(const double original,
                s.number("original_max_position_embeddings",
                         in.original_context != 0 ? in.original_context : in.max_context));
  MINNOW_ASSIGN(const double fast, s.number("beta_fast", 32.0));
  MINNOW_ASSIGN(const double slow, s.number("beta_slow", 1.0));
  MINNOW_ASSIGN(const double mscale, s.number("mscale", 0.0));
  MINNOW_ASSIGN(const double mscale_all, s.number("mscale_all_dim", 0.0));
  MINNOW_ASSIGN(const bool truncate, s.boolean("truncate", true));
  if (!(factor >= 1.0) || !(original > 0))
    return fail(Code::corrupt, "'", s.name(), "': the yarn factor is below 1");
  const auto attention = [&](double m) { return factor <= 1.0 ? 1.0 : 0.1 * m * std::log(factor) + 1.0; };
  const double standard =
      mscale != 0.0 && mscale_all != 0.0 ? attention(mscale) / attention(mscale_all) : attention(1.0);
  MINNOW_ASSIGN(const double given, s.number("attention_factor", standard));
  const double dim = in.rotary_dim;
  const auto dimension_of = [&](double turns) {
    return dim * std::log(original / (turns * 2.0 * std::numbers::pi)) / (2.0 * std::log(in.theta));
  };
  double first = dimension_of(fast), last = dimension_of(slow);
  if (truncate) first = std::floor(first), last = std::ceil(last);
  first = std::max(first, 0.0), last = std::min(last, dim - 1.0);
  if (first == last) last += 0.001;
  auto f = plain_frequencies(in);
  for (size_t j = 0; j < f.size(); ++j) {
    const double ramp = std::clamp((static_cast<double>(j) - first) / (last - first), 0.0, 1.0);
    f[j] = f[j] / factor * ramp + f[j] * (1.0 - ramp);
  }
  store(rope.inv_freq, f);
  rope.attention_factor = static_cast<float>(given);
  return {};
}

Status read_factors(const JsonObject& s, const char* key, size_t count, std::vector<double>& out) {
  if (!s.has(key) || !s.raw(key).is_array() || s.raw(key).size() != count) {
    return fail(Code::corrupt, "'", s.name(), "': '", key, "' is not a list of ", count, " numbers");
  }
  for (const Json& v : s.raw(key)) {
    if (!v.is_number() || !(v.get<double>() > 0.0))
      return fail(Code::corrupt, "'", s.name(), "': '", key, "' holds ", v.dump());
    out.push_back(v.get<double>());
  }
  return {};
}

/// LongRoPE (Phi-3 128k): one factor a dimension, another set beyond the original context.
Status longrope(const RopeInput& in, const JsonObject& s, Rope& rope) {
  const size_t half = in.rotary_dim / 2;
  std::vector<double> short_factor, long_factor;
  MINNOW_TRY(read_factors(s, "short_factor", half, short_factor));
  MINNOW_TRY(read_factors(s, "long_factor", half, long_factor));
  MINNOW_ASSIGN(const uint32_t original, s.uint("original_max_position_embeddings", in.original_context));
  if (original < 2)
    return fail(Code::corrupt, "'", s.name(), "': longrope needs original_max_position_embeddings");
  const double stretch = static_cast<double>(in.max_context) / original;
  MINNOW_ASSIGN(const double factor, s.number("factor", stretch));
  const double standard =
      factor <= 1.0 ? 1.0 : std::sqrt(1.0 + std::log(factor) / std::log(static_cast<double>(original)));
  MINNOW_ASSIGN(const double attention, s.number("attention_factor", standard));
  const auto f = plain_frequencies(in);
  std::vector<double> a(half), b(half);
  for (size_t j = 0; j < half; ++j) a[j] = f[j] / short_factor[j], b[j] = f[j] / long_factor[j];
  store(rope.inv_freq, a);
  store(rope.inv_freq_long, b);
  rope.original_context = original;
  rope.attention_factor = static_cast<float>(attention);
  return {};
}

}  // namespace

Result<Rope> make_rope(const RopeInput& in, const JsonObject* scaling) {
  if (!(in.theta > 1.0))
    return fail(Code::corrupt, "the rope base is ", in.theta, "; more than 1 was expected");
  Rope rope;
  if (scaling == nullptr) {
    store(rope.inv_freq, plain_frequencies(in));
    return rope;
  }
  const JsonObject& s = *scaling;
  if (!s.has("rope_type") && !s.has("type") && s.has("factor")) {
    return fail(Code::corrupt, "'", s.name(), "' has a factor, but does not say of which rope type");
  }
  MINNOW_ASSIGN(const std::string older, s.text("type", "default"));
  MINNOW_ASSIGN(const std::string type, s.text("rope_type", older));
  if (type == "default") {
    store(rope.inv_freq, plain_frequencies(in));
  } else if (type == "linear") {
    MINNOW_ASSIGN(const double factor, s.number("factor"));
    if (!(factor > 0)) return fail(Code::corrupt, "'", s.name(), "': the factor is ", factor);
    auto f = plain_frequencies(in);
    for (double& v : f) v /= factor;
    store(rope.inv_freq, f);
  } else if (type == "llama3") {
    MINNOW_TRY(llama3(in, s, rope));
  } else if (type == "yarn") {
    MINNOW_TRY(yarn(in, s, rope));
  } else if (type == "longrope" || type == "su") {
    MINNOW_TRY(longrope(in, s, rope));
  } else {
    return fail(Code::unsupported, "'", s.name(), "': rope type '", type,
                "' is not known; minnow knows default, linear, llama3, yarn and longrope");
  }
  return rope;
}

}  // namespace minnow::compress
