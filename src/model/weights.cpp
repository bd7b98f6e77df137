#include "model/weights.h"

#include <cmath>

#include "base/checked.h"

namespace minnow::model {
namespace {

using format::Container;
using format::Metadata;

/// Resolves records to pointers, checking that what a place asks for is there and fits.
class Resolver {
 public:
  Resolver(const Container& container, Weights& out) : c_(container), m_(container.metadata()), out_(out) {}

  Status linears() {
    out_.linears.reserve(m_.linears.size());
    for (const format::Linear& l : m_.linears) out_.linears.push_back(resolve(l));
    return {};
  }

  LinearWeights resolve(const format::Linear& l) const {
    const auto* base = reinterpret_cast<const uint8_t*>(c_.segment(l.segment).data());
    LinearWeights w;
    w.name = l.name, w.rows = l.rows, w.cols = l.cols, w.layout = l.layout;
    if (l.input_order >= 0) w.input_order = c_.uints(m_.input_orders[size_t(l.input_order)]).data();
    for (const format::Slab& s : l.slabs) {
      SlabWeights sw;
      sw.code = s.code, sw.group = s.group, sw.first = s.first_channel, sw.count = s.count;
      sw.padded = s.padded(), sw.groups = s.groups();
      sw.codes = base + s.base, sw.code_stride = s.row_stride;
      sw.scale_type = s.scale_type;
      if (s.scale_type != format::ScaleType::none)
        sw.scales = base + s.scale_base, sw.scale_stride = s.scale_stride;
      sw.zero_type = s.zero_type;
      if (s.zero_type != format::ZeroType::midpoint)
        sw.zeros = base + s.zero_base, sw.zero_stride = s.zero_stride;
      sw.levels = s.levels;
      w.slabs.push_back(sw);
    }
    if (l.bias.present()) w.bias = c_.floats(l.bias).data();
    if (l.input_centre.present()) w.input_centre = c_.floats(l.input_centre).data();
    if (l.thresholds.present()) w.thresholds = c_.floats(l.thresholds).data();
    return w;
  }

  Status linear(const LinearWeights*& slot, int32_t index, const std::string& what, uint32_t rows,
                uint32_t cols, bool required) const {
    if (index == -1 && !required) return {};
    if (index < 0 || size_t(index) >= out_.linears.size()) {
      return fail(Code::corrupt, what, " is missing (index ", index, " of ", out_.linears.size(),
                  " linears)");
    }
    const LinearWeights& w = out_.linears[size_t(index)];
    if (w.rows != rows || w.cols != cols) {
      return fail(Code::corrupt, what, " ('", w.name, "') is ", w.rows, " x ", w.cols,
                  ", the config asks for ", rows, " x ", cols);
    }
    slot = &w;
    return {};
  }

  Status norm(NormWeights& slot, const format::Norm& n, const std::string& what, uint32_t size,
              bool required) const {
    if (!n.present()) {
      return required ? fail(Code::corrupt, what, " is missing") : Status();
    }
    if (n.weight.count != size || (n.bias.present() && n.bias.count != size)) {
      return fail(Code::corrupt, what, " has ", n.weight.count, " values, the config asks for ", size);
    }
    slot.weight = c_.floats(n.weight).data();
    slot.bias = n.bias.present() ? c_.floats(n.bias).data() : nullptr;
    return {};
  }

  Status layer(size_t index) {
    const Config& c = m_.config;
    const format::Layer& in = m_.layers[index];
    const std::string where = cat("layer ", index, " ");
    LayerWeights& l = out_.layers.emplace_back();
    MINNOW_TRY(linear(l.q, in.q, where + "q", c.q_size(), c.hidden_size, true));
    MINNOW_TRY(linear(l.k, in.k, where + "k", c.kv_size(), c.hidden_size, true));
    MINNOW_TRY(linear(l.v, in.v, where + "v", c.kv_size(), c.hidden_size, true));
    MINNOW_TRY(linear(l.o, in.o, where + "o", c.hidden_size, c.q_size(), true));
    MINNOW_TRY(
        linear(l.gate, in.gate, where + "gate", c.ffn_size, c.hidden_size, c.ffn == format::FfnKind::gated));
    MINNOW_TRY(linear(l.up, in.up, where + "up", c.ffn_size, c.hidden_size, true));
    MINNOW_TRY(linear(l.down, in.down, where + "down", c.hidden_size, c.ffn_size, true));
    if (c.ffn == format::FfnKind::plain && l.gate != nullptr) {
      return fail(Code::corrupt, where, "has a gate, but its FFN is not a gated one");
    }
    using P = format::NormPlacement;
    const bool before = c.norm_placement != P::post_branch;
    const bool after = c.norm_placement == P::post_branch || c.norm_placement == P::sandwich;
    const bool two = c.block == format::BlockKind::sequential;
    MINNOW_TRY(norm(l.attn_norm, in.attn_norm, where + "attn_norm", c.hidden_size, before));
    MINNOW_TRY(norm(l.ffn_norm, in.ffn_norm, where + "ffn_norm", c.hidden_size, before && two));
    MINNOW_TRY(norm(l.attn_post_norm, in.attn_post_norm, where + "attn_post_norm", c.hidden_size, after));
    MINNOW_TRY(norm(l.ffn_post_norm, in.ffn_post_norm, where + "ffn_post_norm", c.hidden_size, after));
    if (!two && l.ffn_norm.present()) {
      return fail(Code::unsupported, where,
                  "has a norm of its own for the FFN of a parallel block; minnow knows only a shared one");
    }
    if ((!before && (l.attn_norm.present() || l.ffn_norm.present())) ||
        (!after && (l.attn_post_norm.present() || l.ffn_post_norm.present()))) {
      return fail(Code::corrupt, where, "has norms that its norm placement does not use");
    }
    const bool qk = c.qk_norm != format::QkNorm::none;
    const bool full = c.qk_norm == format::QkNorm::full;
    MINNOW_TRY(norm(l.q_norm, in.q_norm, where + "q_norm", full ? c.q_size() : c.head_dim, qk));
    MINNOW_TRY(norm(l.k_norm, in.k_norm, where + "k_norm", full ? c.kv_size() : c.head_dim, qk));
    if (in.gate_thresholds.present()) {
      if (c.ffn != format::FfnKind::gated) {
        return fail(Code::corrupt, where, "has gate_thresholds, but its FFN has no gate");
      }
      if (in.gate_thresholds.count != c.ffn_size) {
        return fail(Code::corrupt, where, "gate_thresholds has ", in.gate_thresholds.count,
                    " values, the config asks for ", c.ffn_size);
      }
      l.gate_thresholds = c_.floats(in.gate_thresholds).data();
    }
    l.sliding_window = in.sliding_window;
    if (in.rope < -1 || in.rope >= int64_t(c.ropes.size()) ||
        (in.rope >= 0 && c.position != format::PositionKind::rope)) {
      return fail(Code::corrupt, where, "names rope ", in.rope, ", the config has ", c.ropes.size());
    }
    if (in.rope >= 0) l.rope = &c.ropes[size_t(in.rope)];
    return {};
  }

  Status ends() {
    const Config& c = m_.config;
    MINNOW_TRY(linear(out_.embedding, m_.embedding, "the embedding", c.vocab_size, c.embedding_size, true));
    MINNOW_TRY(linear(out_.head, m_.head, "the output head", c.vocab_size, c.embedding_size, true));
    const bool projected = c.embedding_size != c.hidden_size;
    MINNOW_TRY(linear(out_.embedding_in, m_.embedding_in, "embedding_in", c.hidden_size, c.embedding_size,
                      projected));
    MINNOW_TRY(linear(out_.embedding_out, m_.embedding_out, "embedding_out", c.embedding_size, c.hidden_size,
                      projected));
    MINNOW_TRY(norm(out_.final_norm, m_.final_norm, "the final norm", c.hidden_size,
                    c.norm_placement != format::NormPlacement::post_residual));
    if (c.position == format::PositionKind::learned) {
      if (m_.positions.count != uint64_t{c.max_context} * c.hidden_size) {
        return fail(Code::corrupt, "the learned positions hold ", m_.positions.count, " values, expected ",
                    c.max_context, " x ", c.hidden_size);
      }
      SlabWeights rows;
      rows.code = m_.positions.dtype == format::DType::f32   ? format::CodeType::f32
                  : m_.positions.dtype == format::DType::f16 ? format::CodeType::f16
                                                             : format::CodeType::bf16;
      rows.count = c.hidden_size;
      rows.code_stride = c.hidden_size * format::size_of(m_.positions.dtype);
      rows.codes = c_.bytes(m_.positions);
      out_.positions.rows = c.max_context, out_.positions.cols = c.hidden_size;
      out_.positions.slabs.push_back(rows);
    }
    if (m_.bos_id < -1 || m_.bos_id >= int64_t(c.vocab_size))
      return fail(Code::corrupt, "bos_id ", m_.bos_id, " is out of range");
    for (int32_t id : m_.eos_ids) {
      if (id < 0 || uint32_t(id) >= c.vocab_size)
        return fail(Code::corrupt, "eos id ", id, " is out of range");
    }
    return {};
  }

  /// A layer has a codebook for each KV head, all of one size, or none.
  Status codebooks() {
    const Config& c = m_.config;
    for (const format::Codebook& b : m_.codebooks) {
      const std::string where = cat("the codebook of layer ", b.layer, ", KV head ", b.kv_head, " ");
      if (b.layer >= out_.layers.size() || b.kv_head >= c.kv_head_count || b.centres.cols != c.head_dim) {
        return fail(Code::corrupt, where, "(dimension ", b.centres.cols, ") does not fit the model");
      }
      const LinearWeights centres = resolve(b.centres);
      const SlabWeights& s = centres.slabs.front();
      if (centres.layout != Layout::panel || centres.slabs.size() != 1 || s.code != CodeType::u8 ||
          s.scale_type != format::ScaleType::f16 || s.zeros != nullptr || !s.levels.empty() ||
          centres.bias != nullptr || centres.input_order != nullptr || centres.thresholds != nullptr) {
        return fail(Code::unsupported, where, "is not one slab of 8-bit codes in panels");
      }
      if (centres.rows % 16 != 0 || centres.rows > kMostCentroids) {
        return fail(Code::unsupported, where, "has ", centres.rows, " centroids; a multiple of 16, at most ",
                    kMostCentroids, ", was expected");
      }
      const float* upper = c_.floats(b.whitening).data();
      const uint32_t stride = round_up(c.head_dim, format::kChannelPadding);
      for (uint32_t i = 0; i < c.head_dim; ++i) {
        for (uint32_t j = 0; j < stride; ++j) {
          const float v = upper[i * stride + j];
          if (!std::isfinite(v) || (j == i && !(v > 0.0f)) || ((j < i || j >= c.head_dim) && v != 0.0f)) {
            return fail(Code::corrupt, where, "has ", v, " at row ", i, ", column ", j,
                        " of its whitening, which is no upper factor");
          }
        }
      }
      auto& books = out_.layers[b.layer].codebooks;
      books.resize(c.kv_head_count);
      if (books[b.kv_head].whitening != nullptr) return fail(Code::corrupt, where, "is there twice");
      const float* offset = c_.floats(b.offset).data();
      for (uint32_t i = 0; i < c.head_dim; ++i) {
        if (!std::isfinite(offset[i]))
          return fail(Code::corrupt, where, "has ", offset[i], " at index ", i, " of its offset");
      }
      books[b.kv_head] = {centres, upper, offset};
    }
    for (size_t i = 0; i < out_.layers.size(); ++i) {
      const auto& books = out_.layers[i].codebooks;
      for (size_t h = 0; h < books.size(); ++h) {
        if (books[h].whitening == nullptr || books[h].centres.rows != books[0].centres.rows) {
          return fail(Code::corrupt, "layer ", i, " has codebooks, but none for KV head ", h,
                      " as large as the first");
        }
      }
      if (!books.empty() && out_.layers[i].sliding_window != 0) {
        return fail(Code::unsupported, "layer ", i, " has codebooks and a sliding window");
      }
    }
    return {};
  }

 private:
  const Container& c_;
  const Metadata& m_;
  Weights& out_;
};

}  // namespace

Status check_config(const Config& c, size_t layers) {
  struct Named {
    const char* name;
    uint64_t value, low, high;
  };
  const Named sizes[] = {
      {"vocab_size", c.vocab_size, 1, 1u << 24},   {"hidden_size", c.hidden_size, 1, 1u << 17},
      {"head_count", c.head_count, 1, 1u << 12},   {"kv_head_count", c.kv_head_count, 1, c.head_count},
      {"head_dim", c.head_dim, 1, 1u << 12},       {"ffn_size", c.ffn_size, 1, 1u << 20},
      {"max_context", c.max_context, 1, 1u << 30}, {"embedding_size", c.embedding_size, 1, 1u << 17},
      {"rotary_dim", c.rotary_dim, 0, c.head_dim}, {"number of layers", layers, 1, 1u << 12},
  };
  for (const Named& s : sizes) {
    if (s.value < s.low || s.value > s.high) {
      return fail(Code::corrupt, "the model's ", s.name, " is ", s.value, "; between ", s.low, " and ",
                  s.high, " was expected");
    }
  }
  if (c.head_count % c.kv_head_count != 0) {
    return fail(Code::corrupt, c.head_count, " heads cannot share ", c.kv_head_count, " KV heads evenly");
  }
  if (c.rotary_dim % 2 != 0) return fail(Code::corrupt, "rotary_dim ", c.rotary_dim, " is odd");
  const std::pair<const char*, float> numbers[] = {
      {"norm_eps", c.norm_eps},
      {"embedding_scale", c.embedding_scale},
      {"residual_scale", c.residual_scale},
      {"logits_scale", c.logits_scale},
      {"attention_scale", c.attention_scale},
  };
  for (const auto& [name, value] : numbers) {
    if (!std::isfinite(value) || !(value > 0.0f)) {
      return fail(Code::corrupt, "the model's ", name, " is ", value, "; a positive number was expected");
    }
  }
  if (!(c.attention_softcap >= 0.0f) || !(c.logits_softcap >= 0.0f) || std::isinf(c.attention_softcap) ||
      std::isinf(c.logits_softcap)) {
    return fail(Code::corrupt, "a soft cap is negative or not finite");
  }
  for (size_t i = 0; i < c.ropes.size(); ++i) {
    const format::Rope& r = c.ropes[i];
    const size_t half = c.rotary_dim / 2;
    if (r.inv_freq.size() != half || (!r.inv_freq_long.empty() && r.inv_freq_long.size() != half)) {
      return fail(Code::corrupt, "rope ", i, " has ", r.inv_freq.size(), " frequencies, expected ", half);
    }
    for (const auto* list : {&r.inv_freq, &r.inv_freq_long}) {
      for (float f : *list) {
        if (!std::isfinite(f)) return fail(Code::corrupt, "rope ", i, " has a frequency that is not finite");
      }
    }
    if (!std::isfinite(r.attention_factor))
      return fail(Code::corrupt, "rope ", i, " has no finite attention factor");
  }
  return {};
}

uint64_t LinearWeights::bytes() const {
  uint64_t total = 0;
  for (const SlabWeights& s : slabs) {
    total += uint64_t{rows} * s.count * format::bits_of(s.code) / 8;
    const uint64_t factors = uint64_t{rows} * s.groups;
    total += factors * format::size_of(s.scale_type);
    if (s.zeros != nullptr) total += s.zero_type == format::ZeroType::u4 ? factors / 2 : factors;
  }
  return total;
}

Result<Weights> Weights::create(const Container& container) {
  const Metadata& m = container.metadata();
  Weights out;
  out.config_ = &m.config;
  MINNOW_TRY(check_config(m.config, m.layers.size()));
  Resolver r(container, out);
  MINNOW_TRY(r.linears());
  out.layers.reserve(m.layers.size());
  for (size_t i = 0; i < m.layers.size(); ++i) MINNOW_TRY(r.layer(i));
  MINNOW_TRY(r.ends());
  MINNOW_TRY(r.codebooks());
  return out;
}

namespace {

template <typename Measure>
uint64_t sum_over_linears(const Weights& weights, const Measure& measure) {
  uint64_t total = measure(*weights.head);
  const auto add = [&](const LinearWeights* w) { total += w != nullptr ? measure(*w) : 0; };
  for (const LayerWeights& l : weights.layers) {
    for (const LinearWeights* w : {l.q, l.k, l.v, l.o, l.gate, l.up, l.down}) add(w);
  }
  add(weights.embedding_in);
  add(weights.embedding_out);
  return total;
}

}  // namespace

uint64_t bytes_per_token(const Weights& weights) {
  return sum_over_linears(weights, [](const LinearWeights& w) { return w.bytes(); });
}

uint64_t weights_per_token(const Weights& weights) {
  return sum_over_linears(weights, [](const LinearWeights& w) { return w.weight_count(); });
}

}  // namespace minnow::model
