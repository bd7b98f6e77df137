#include "compress/chess/thresholds.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/checked.h"
#include "base/cpu.h"
#include "compress/json.h"
#include "compress/layout.h"
#include "format/writer.h"
#include "kernels/common/codes_scalar.h"
#include "model/plan.h"

namespace minnow::compress {
namespace {

using format::Layout;
using model::LinearWeights;
using model::SlabWeights;

/// One slab's codes, scales and zeros a number each, from whatever layout they lie in.
QuantisedSlab unpack(const LinearWeights& w, const SlabWeights& s, ThreadPool& pool) {
  QuantisedSlab out;
  out.code = s.code, out.group = s.group, out.first = s.first, out.count = s.count;
  const int bits = static_cast<int>(format::bits_of(s.code));
  const uint32_t groups = out.groups();
  out.codes.resize(size_t{w.rows} * s.count);
  out.scales.resize(size_t{w.rows} * groups);
  if (s.zeros != nullptr) out.zeros.resize(out.scales.size());
  pool.parallel_for(w.rows, 8, [&](size_t begin, size_t end, uint32_t) {
    for (size_t r = begin; r < end; ++r) {
      uint8_t* codes = out.codes.data() + r * s.count;
      for (uint32_t i = 0; i < s.count; ++i) {
        codes[i] = static_cast<uint8_t>(
            w.layout == Layout::row ? code_in_run(s.codes + r * s.code_stride, bits, s.padded, i)
            : w.layout == Layout::panel
                ? code_in_panel(s.codes + r / kPanelOutputs * s.code_stride, bits, r % kPanelOutputs, i)
                : code_in_run(s.codes + i * s.code_stride, bits, w.rows, r));
      }
      for (uint32_t g = 0; g < groups; ++g) {
        const size_t line = w.layout == Layout::row ? r : w.layout == Layout::panel ? r / kPanelOutputs : g;
        const size_t at = w.layout == Layout::row     ? g
                          : w.layout == Layout::panel ? g * kPanelOutputs + r % kPanelOutputs
                                                      : r;
        out.scales[r * groups + g] =
            f32_of_f16(reinterpret_cast<const uint16_t*>(s.scales + line * s.scale_stride)[at]);
        if (s.zeros == nullptr) continue;
        const uint8_t both = (s.zeros + line * s.zero_stride)[at / 16 * 8 + at % 8];
        out.zeros[r * groups + g] = at % 16 < 8 ? both & 15 : both >> 4;
      }
    }
  });
  return out;
}

class Rewriter {
 public:
  Rewriter(const format::Container& container, const model::Weights& weights, const Thresholds& thresholds,
           format::Writer& writer, ThreadPool& pool)
      : c_(container),
        weights_(weights),
        thresholds_(thresholds),
        writer_(writer),
        pool_(pool),
        m_(c_.metadata()) {}

  Status run(const std::string& settings) {
    MINNOW_TRY(linears());
    MINNOW_TRY(small_tensors());
    for (format::Codebook& b : m_.codebooks) {
      MINNOW_TRY(other_segment(b.centres.segment));
      MINNOW_TRY(other_segment(b.whitening.segment));
      MINNOW_TRY(other_segment(b.offset.segment));
    }
    if (m_.tokenizer_segment >= 0) {
      auto segment = static_cast<uint32_t>(m_.tokenizer_segment);
      MINNOW_TRY(other_segment(segment));
      m_.tokenizer_segment = static_cast<int32_t>(segment);
    }
    Json all = Json::parse(m_.provenance.settings, nullptr, false);
    if (!all.is_object()) all = Json::object();
    all["sparsity"] = Json::parse(settings, nullptr, false);
    m_.provenance.settings = all.dump();
    return {};
  }
  format::Metadata take() { return std::move(m_); }

 private:
  /// What a linear is wanted in: by its place in a layer, where it has one.
  Layout layout_for(size_t index) const {
    for (size_t i = 0; i < m_.layers.size(); ++i) {
      const format::Layer& l = c_.metadata().layers[i];
      const int32_t at[kRoles] = {l.q, l.k, l.v, l.o, l.gate, l.up, l.down};
      for (size_t r = 0; r < kRoles; ++r) {
        if (at[r] != static_cast<int32_t>(index)) continue;
        const Role role = kAllRoles[r];
        if (!thresholds_[i][role].empty() || role == Role::down) return Layout::channel;
        if (role != Role::up) return Layout::panel;
        // Rows of few inputs are mostly padding: kept as they are, unless gates want rows.
        return thresholds_[i].gate.empty() ? weights_.linears[index].layout : Layout::row;
      }
    }
    return weights_.linears[index].layout;
  }

  Status linears() {
    uint64_t total = 0;
    for (const LinearWeights& w : weights_.linears) total += w.weight_count();
    MINNOW_TRY(writer_.begin_segment(format::SegmentKind::weights, total > format::kPageAlignment * 1024));
    for (size_t i = 0; i < m_.linears.size(); ++i) {
      const LinearWeights& w = weights_.linears[i];
      format::Linear& out = m_.linears[i];
      if (format::is_float(w.slabs.front().code)) {
        MINNOW_TRY(copy_floats(w, out));
        continue;
      }
      QuantisedLinear linear;
      linear.name = out.name, linear.rows = w.rows, linear.cols = w.cols;
      for (const SlabWeights& s : w.slabs) linear.slabs.push_back(unpack(w, s, pool_));
      out.slabs.clear();
      MINNOW_TRY(append_quantised(linear, layout_for(i), writer_, pool_, out));
    }
    MINNOW_ASSIGN(const uint32_t segment, writer_.end_segment());
    for (format::Linear& l : m_.linears) l.segment = segment;
    return {};
  }

  Status copy_floats(const LinearWeights& w, format::Linear& out) {
    for (size_t i = 0; i < w.slabs.size(); ++i) {
      const format::SlabExtent e = extent_of(out.slabs[i], w.layout, w.rows);
      const uint64_t bytes = (e.units - 1) * out.slabs[i].row_stride + e.unit_bytes;
      MINNOW_ASSIGN(out.slabs[i].base, writer_.align(format::kSegmentAlignment));
      MINNOW_TRY(writer_.append({reinterpret_cast<const std::byte*>(w.slabs[i].codes), bytes}));
    }
    return {};
  }

  Status tensor(format::TensorRef& t) {
    if (!t.present()) return {};
    const uint64_t size = format::size_of(t.dtype);
    const auto bytes = c_.segment(t.segment).subspan(t.offset, t.count * size);
    MINNOW_ASSIGN(t.offset, writer_.align(size));
    t.segment = small_;
    return writer_.append(bytes);
  }
  Status norm(format::Norm& n) {
    MINNOW_TRY(tensor(n.weight));
    return tensor(n.bias);
  }
  /// Equal thresholds are stored once: those that only leave out zeros, say.
  Status floats(const std::vector<float>& values, format::TensorRef& t) {
    t = {};
    if (values.empty()) return {};
    if (const auto found = stored_.find(values); found != stored_.end()) {
      t = found->second;
      return {};
    }
    t.segment = small_, t.dtype = format::DType::f32, t.count = values.size();
    MINNOW_ASSIGN(t.offset, writer_.align(sizeof(float)));
    MINNOW_TRY(writer_.append(std::as_bytes(std::span(values))));
    stored_.emplace(values, t);
    return {};
  }

  Status small_tensors() {
    MINNOW_TRY(writer_.begin_segment(format::SegmentKind::small, false));
    small_ = 1;
    for (format::Linear& l : m_.linears) {
      MINNOW_TRY(tensor(l.bias));
      MINNOW_TRY(tensor(l.input_centre));
      l.thresholds = {};
    }
    for (size_t i = 0; i < m_.layers.size(); ++i) {
      format::Layer& l = m_.layers[i];
      for (format::Norm* n :
           {&l.attn_norm, &l.attn_post_norm, &l.ffn_norm, &l.ffn_post_norm, &l.q_norm, &l.k_norm}) {
        MINNOW_TRY(norm(*n));
      }
      MINNOW_TRY(floats(thresholds_[i].gate, l.gate_thresholds));
      const int32_t at[kRoles] = {l.q, l.k, l.v, l.o, l.gate, l.up, l.down};
      for (size_t r = 0; r < kRoles; ++r) {
        const std::vector<float>& values = thresholds_[i].input[r];
        if (at[r] < 0 || values.empty()) continue;
        const auto index = static_cast<size_t>(at[r]);
        MINNOW_TRY(floats(in_slab_order(weights_.linears[index], values), m_.linears[index].thresholds));
      }
    }
    MINNOW_TRY(norm(m_.final_norm));
    MINNOW_TRY(tensor(m_.positions));
    for (format::TensorRef& t : m_.input_orders) MINNOW_TRY(tensor(t));
    MINNOW_ASSIGN(small_, writer_.end_segment());
    return {};
  }

  /// Copies a segment once and renames it.
  Status other_segment(uint32_t& index) {
    if (const auto found = renamed_.find(index); found != renamed_.end()) {
      index = found->second;
      return {};
    }
    const format::Segment& s = c_.metadata().segments[index];
    MINNOW_TRY(writer_.begin_segment(s.kind, false));
    const uint64_t slack = s.kind == format::SegmentKind::codebook ? format::kSlabSlack : 0;  // comes anew
    MINNOW_TRY(writer_.append(c_.segment(index).first(s.size - slack)));
    MINNOW_ASSIGN(const uint32_t to, writer_.end_segment());
    renamed_.emplace(index, to);
    index = to;
    return {};
  }

  const format::Container& c_;
  const model::Weights& weights_;
  const Thresholds& thresholds_;
  format::Writer& writer_;
  ThreadPool& pool_;
  format::Metadata m_;
  uint32_t small_ = 0;
  std::map<std::vector<float>, format::TensorRef> stored_;
  std::map<uint32_t, uint32_t> renamed_;
};

}  // namespace

const LinearWeights* linear_of(const model::LayerWeights& l, Role role) {
  const LinearWeights* const all[kRoles] = {l.q, l.k, l.v, l.o, l.gate, l.up, l.down};
  return all[static_cast<size_t>(role)];
}

std::vector<float> in_slab_order(const LinearWeights& linear, const std::vector<float>& natural) {
  if (linear.input_order == nullptr) return natural;
  std::vector<float> out(natural.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = natural[linear.input_order[i]];
  return out;
}

std::vector<float> input_norms(const LinearWeights& linear, const model::KernelSet& kernels,
                               ThreadPool& pool) {
  const size_t padded = round_up(linear.cols, format::kChannelPadding);
  std::vector<std::vector<double>> sums(pool.threads(), std::vector<double>(linear.cols));
  pool.parallel_for(linear.rows, 16, [&](size_t begin, size_t end, uint32_t slot) {
    std::vector<float> row(padded);
    for (size_t r = begin; r < end; ++r) {
      model::dequantise_row(linear, static_cast<uint32_t>(r), kernels, row.data());
      for (size_t i = 0; i < linear.cols; ++i) sums[slot][i] += double{row[i]} * row[i];
    }
  });
  std::vector<float> out(linear.cols);
  for (size_t i = 0; i < linear.cols; ++i) {
    double total = 0.0;
    for (const auto& part : sums) total += part[i];
    out[linear.input_order == nullptr ? i : linear.input_order[i]] = static_cast<float>(std::sqrt(total));
  }
  return out;
}

Result<CompressReport> write_with_thresholds(const format::Container& container, const Thresholds& thresholds,
                                             const std::string& settings, ThreadPool& pool,
                                             const std::string& path) {
  MINNOW_ASSIGN(const model::Weights weights, model::Weights::create(container));
  MINNOW_ASSIGN(format::Writer writer, format::Writer::create(path));
  Rewriter rewriter(container, weights, thresholds, writer, pool);
  MINNOW_TRY(rewriter.run(settings));
  MINNOW_TRY(writer.finish(rewriter.take()));
  return CompressReport{writer.bytes_written(), container.metadata().parameters};
}

}  // namespace minnow::compress
