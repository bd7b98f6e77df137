#include "retrieval/arms.h"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "exec/selection.h"
#include "kernels/common/float_bits.h"

namespace minnow::bench {
namespace {

using exec::Selector;

/// Keys of the cache as floats.
class Keys {
 public:
  Keys(const model::Plan& plan, kv::Type type) : config(*plan.config), plan_(plan), type_(type) {}

  void load(const kv::RowView& rows, uint32_t p, float* to) const {
    const uint8_t* k = rows.k + p * rows.row_stride;
    for (uint32_t i = 0; i < config.head_dim; ++i) {
      to[i] = type_ == kv::Type::f32   ? reinterpret_cast<const float*>(k)[i]
              : type_ == kv::Type::f16 ? f32_of_f16(reinterpret_cast<const uint16_t*>(k)[i])
                                       : static_cast<float>(reinterpret_cast<const int8_t*>(k)[i]) *
                                             rows.k_scale[p * rows.scale_stride / sizeof(float)];
    }
  }
  /// Takes the rotation of position p off again.
  void unrotate(uint32_t layer, uint32_t p, float* k) const {
    const format::Rope* rope = plan_.layers[layer].weights->rope;
    if (rope == nullptr) return;
    const size_t half = config.rotary_dim / 2;
    for (size_t j = 0; j < half; ++j) {
      const float angle = static_cast<float>(p) * rope->inv_freq[j];
      const float c = std::cos(angle), s = std::sin(angle), a = k[j], b = k[j + half];
      k[j] = a * c + b * s;
      k[j + half] = b * c - a * s;
    }
  }
  size_t padded() const { return (config.head_dim + 31) / 32 * 32; }

  const model::Config& config;

 private:
  const model::Plan& plan_;
  kv::Type type_;
};

float dot(const float* a, const float* b, size_t n) {
  float sum = 0.0f;
  for (size_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

/// Marks the `most` best of scores.
void mark_best(const std::vector<float>& scores, size_t most, std::vector<uint8_t>& marked) {
  std::vector<uint32_t> order(scores.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<uint32_t>(i);
  most = std::min(most, order.size());
  std::nth_element(order.begin(), order.begin() + static_cast<long>(most), order.end(),
                   [&](uint32_t a, uint32_t b) { return scores[a] > scores[b]; });
  for (size_t i = 0; i < most; ++i) marked[order[i]] = 1;
}

size_t list_marked(const std::vector<uint8_t>& marked, uint32_t first, uint32_t* list) {
  size_t n = 0;
  for (size_t i = 0; i < marked.size(); ++i) {
    if (marked[i] != 0) list[n++] = first + static_cast<uint32_t>(i);
  }
  return n;
}

/// Top k a head by true scores, or by those of far keys.
class TopK : public Selector {
 public:
  TopK(Keys keys, float fraction, bool far) : keys_(keys), fraction_(fraction), far_(far) {}
  size_t select(const Request& r, uint32_t first, uint32_t end, uint32_t* list) override {
    const size_t group = keys_.config.group_size(), dim = keys_.config.head_dim;
    std::vector<std::vector<float>> scores(group, std::vector<float>(end - first));
    std::vector<float> k(dim);
    for (uint32_t p = first; p < end; ++p) {
      keys_.load(r.rows, p, k.data());
      if (far_) keys_.unrotate(r.layer, p, k.data());
      for (size_t g = 0; g < group; ++g)
        scores[g][p - first] = dot((far_ ? r.far_q : r.q) + g * keys_.padded(), k.data(), dim);
    }
    std::vector<uint8_t> marked(end - first);
    const auto most = static_cast<size_t>(fraction_ * static_cast<float>(r.position + 1));
    for (const auto& s : scores) mark_best(s, most, marked);
    return list_marked(marked, first, list);
  }

 private:
  Keys keys_;
  float fraction_;
  bool far_;
};

/// Quest: pages by the largest score that any key within their bounds could have.
class Pages : public Selector {
 public:
  Pages(Keys keys, float fraction) : keys_(keys), fraction_(fraction) {}
  size_t select(const Request& r, uint32_t first, uint32_t end, uint32_t* list) override {
    constexpr uint32_t kPage = 16;
    const size_t group = keys_.config.group_size(), dim = keys_.config.head_dim;
    const uint32_t pages = (end - first + kPage - 1) / kPage;
    std::vector<std::vector<float>> scores(group, std::vector<float>(pages));
    std::vector<float> k(dim), low(dim), high(dim);
    for (uint32_t page = 0; page < pages; ++page) {
      std::fill(low.begin(), low.end(), INFINITY);
      std::fill(high.begin(), high.end(), -INFINITY);
      for (uint32_t p = first + page * kPage; p < std::min(end, first + (page + 1) * kPage); ++p) {
        keys_.load(r.rows, p, k.data());
        for (size_t i = 0; i < dim; ++i) low[i] = std::min(low[i], k[i]), high[i] = std::max(high[i], k[i]);
      }
      for (size_t g = 0; g < group; ++g) {
        const float* q = r.q + g * keys_.padded();
        float sum = 0.0f;
        for (size_t i = 0; i < dim; ++i) sum += std::max(q[i] * low[i], q[i] * high[i]);
        scores[g][page] = sum;
      }
    }
    const auto most = static_cast<size_t>(fraction_ * static_cast<float>(r.position + 1) / kPage + 0.5f);
    std::vector<uint8_t> marked(pages);
    for (const auto& s : scores) mark_best(s, most, marked);
    size_t n = 0;
    for (uint32_t p = first; p < end; ++p) {
      if (marked[(p - first) / kPage] != 0) list[n++] = p;
    }
    return n;
  }

 private:
  Keys keys_;
  float fraction_;
};

float number(const std::string& text, const std::string& arm) {
  size_t used = 0;
  const float v = std::stof(text, &used);
  if (used != text.size()) throw std::invalid_argument("'" + text + "' in '" + arm + "' is not a number");
  return v;
}

}  // namespace

Arm parse_arm(const std::string& text, const model::Plan& plan, kv::Type type) {
  Arm arm;
  arm.name = text;
  const size_t colon = text.find(':');
  const std::string kind = text.substr(0, colon);
  std::istringstream keys(colon == std::string::npos ? "" : text.substr(colon + 1));
  exec::RetrievalOptions& o = arm.options;
  o.on = kind != "dense", o.from = 0;
  for (std::string pair; std::getline(keys, pair, ',');) {
    const size_t equals = pair.find('=');
    if (equals == std::string::npos)
      throw std::invalid_argument("'" + pair + "' in '" + text + "' has no value");
    const std::string key = pair.substr(0, equals);
    const float value = number(pair.substr(equals + 1), text);
    if (key == "fraction")
      o.fraction = value;
    else if (key == "mass")
      o.mass = value;
    else if (key == "dense")
      o.dense_layers = static_cast<uint32_t>(value);
    else if (key == "budget")
      o.budget = static_cast<uint32_t>(value);
    else
      throw std::invalid_argument("'" + key + "' in '" + text + "' is not known");
  }
  if (kind == "exact" || kind == "far")
    arm.selector = std::make_unique<TopK>(Keys(plan, type), o.fraction, kind == "far");
  else if (kind == "pages")
    arm.selector = std::make_unique<Pages>(Keys(plan, type), o.fraction);
  else if (kind != "dense" && kind != "vq")
    throw std::invalid_argument("'" + kind + "' is no arm");
  o.selector = arm.selector.get();
  return arm;
}

}  // namespace minnow::bench
