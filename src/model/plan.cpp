#include "model/plan.h"

#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "base/cpu.h"
#include "kernels/common/codes_scalar.h"

namespace minnow::model {
namespace {

Status check_supported(const LinearWeights& w) {
  for (const SlabWeights& s : w.slabs) {
    if (w.layout != Layout::row && format::is_float(s.code)) {
      return fail(Code::unsupported, "linear '", w.name, "' stores ", format::name_of(s.code), " in ",
                  format::name_of(w.layout), " layout, for which this version has no kernel");
    }
    if (!s.levels.empty()) {
      return fail(Code::unsupported, "linear '", w.name,
                  "' has non-uniform levels, for which this version has no kernel");
    }
    if (s.group != 0 && s.scale_type != format::ScaleType::f16) {
      return fail(Code::unsupported, "linear '", w.name, "' has scales that are not f16");
    }
    const bool wide = s.code == CodeType::u8;
    if (s.zero_type == format::ZeroType::u8 || (wide && s.zero_type != format::ZeroType::midpoint)) {
      return fail(Code::unsupported, "linear '", w.name,
                  "' has 8-bit zeros, or zeros for 8-bit codes, for which ", "this version has no kernel");
    }
    if (s.group != 0 && s.first % s.group != 0 && &s != &w.slabs.front()) {
      return fail(Code::unsupported, "linear '", w.name, "' has a slab that starts at channel ", s.first,
                  ", which is not a multiple of its group of ", s.group);
    }
  }
  if (w.input_centre != nullptr) {
    return fail(Code::unsupported, "linear '", w.name,
                "' has an input centre, which this version cannot apply");
  }
  return {};
}

InputForm form_of(const LinearWeights& w) {
  InputForm f;
  f.order = w.input_order;
  f.thresholds = w.thresholds;
  for (const SlabWeights& s : w.slabs) {
    InputPiece p{};
    p.first = s.first, p.count = s.count, p.padded = s.padded, p.group = s.group, p.groups = s.groups;
    if (s.group == 0) {
      p.offset = f.floats;
      f.floats += s.padded;
    } else {
      p.offset = f.codes;
      p.group_offset = f.groups;
      f.codes = p.codes_end = round_up(f.codes + s.padded, uint32_t{kInputPadding});
      f.groups = p.groups_end = round_up(f.groups + s.groups, uint32_t{kInputGroupPadding});
    }
    f.pieces.push_back(p);
  }
  // Rows a power of two apart would fall into the same few sets of the first-level cache.
  if (f.codes != 0) f.codes += 64;
  return f;
}

/// Pieces of an eighth of what is left, whole groups each.
std::vector<ChannelPiece> channel_pieces(const LinearWeights& w) {
  uint32_t left = 0;
  for (const SlabWeights& s : w.slabs) left += s.padded;
  std::vector<ChannelPiece> out;
  for (uint32_t i = 0; i < w.slabs.size(); ++i) {
    const SlabWeights& s = w.slabs[i];
    for (uint32_t k = 0; k < s.padded;) {
      const uint32_t wanted = round_up(std::max(left / 8, 128u), 128u);  // a multiple of every group size
      const uint32_t end = std::min(s.padded, k + wanted);
      out.push_back({i, k, end});
      left -= end - k;
      k = end;
    }
  }
  return out;
}

class Builder {
 public:
  explicit Builder(Plan& plan) : plan_(plan) {}

  /// A linear of a layer: it may have thresholds.
  Status linear(PlanLinear& slot, const LinearWeights* w, uint32_t layer) {
    MINNOW_TRY(linear_without_mask(slot, w));
    if (w != nullptr && w->thresholds != nullptr) slot.mask = mask({layer, w, false, w->cols});
    return {};
  }

  Status linear(PlanLinear& slot, const LinearWeights* w) {
    if (w != nullptr && w->thresholds != nullptr) {
      return fail(Code::unsupported, "linear '", w->name,
                  "' has thresholds, which this version applies within layers only");
    }
    return linear_without_mask(slot, w);
  }

  Status codebooks(PlanLayer& p, uint32_t layer) {
    std::vector<float> row(round_up(plan_.config->head_dim, format::kChannelPadding));
    for (const Codebook& book : p.weights->codebooks) {
      std::vector<float>& bias = p.centroid_bias.emplace_back(book.centres.rows);
      for (uint32_t i = 0; i < book.centres.rows; ++i) {
        dequantise_row(book.centres, i, plan_.kernels, row.data());
        double square = 0.0;
        for (float v : row) square += double{v} * v;
        if (!std::isfinite(square)) {
          return fail(Code::corrupt, "centroid ", i, " of KV head ", p.centroid_bias.size() - 1, " in layer ",
                      layer, " is not finite; make the codebooks again");
        }
        bias[i] = static_cast<float>(-0.5 * square);
        centroid_squares_ += square, ++centroids_;
      }
      plan_.centroids = std::max(plan_.centroids, book.centres.rows);
      plan_.centroid_square = static_cast<float>(centroid_squares_ / static_cast<double>(centroids_));
    }
    return {};
  }

  int32_t mask(const Mask& m) {
    plan_.masks.push_back(m);
    return static_cast<int32_t>(plan_.masks.size() - 1);
  }

 private:
  Status linear_without_mask(PlanLinear& slot, const LinearWeights* w) {
    if (w == nullptr) return {};
    MINNOW_TRY(check_supported(*w));
    slot.weights = w;
    InputExtent& extent = plan_.input;
    extent.slabs = std::max(extent.slabs, static_cast<uint32_t>(w->slabs.size()));
    extent.float_tiles = extent.float_tiles || format::is_float(w->slabs.front().code);
    if (w->layout == Layout::channel) {
      slot.pieces = channel_pieces(*w);
      extent.channel_pieces = std::max(extent.channel_pieces, static_cast<uint32_t>(slot.pieces.size()));
      extent.channel_rows = std::max(extent.channel_rows, w->rows);
    }
    InputForm f = form_of(*w);
    const auto found = std::find(plan_.forms.begin(), plan_.forms.end(), f);
    slot.form = static_cast<uint32_t>(found - plan_.forms.begin());
    if (found == plan_.forms.end()) {
      plan_.input.floats = std::max(plan_.input.floats, f.floats);
      plan_.input.codes = std::max(plan_.input.codes, f.codes);
      plan_.input.groups = std::max(plan_.input.groups, f.groups);
      plan_.forms.push_back(std::move(f));
    }
    return {};
  }

  Plan& plan_;
  double centroid_squares_ = 0.0;  // of so many centroids
  uint64_t centroids_ = 0;
};

}  // namespace

bool InputForm::operator==(const InputForm& other) const {
  return order == other.order && thresholds == other.thresholds &&
         std::equal(pieces.begin(), pieces.end(), other.pieces.begin(), other.pieces.end(),
                    [](const InputPiece& a, const InputPiece& b) {
                      return a.first == b.first && a.count == b.count && a.group == b.group;
                    });
}

Result<Plan> Plan::create(const Weights& weights, uint32_t isa, bool xnnpack) {
  Plan plan;
  plan.config = &weights.config();
  plan.weights = &weights;
  plan.kernels = select_kernels(isa);
  plan.use_xnnpack = xnnpack && isa == detect_isa();
  plan.bytes_per_token = model::bytes_per_token(weights);
  plan.weights_per_token = model::weights_per_token(weights);
  Builder b(plan);
  plan.layers.reserve(weights.layers.size());
  for (const LayerWeights& l : weights.layers) {
    PlanLayer& p = plan.layers.emplace_back();
    p.weights = &l;
    const auto layer = static_cast<uint32_t>(plan.layers.size() - 1);
    MINNOW_TRY(b.linear(p.q, l.q, layer));
    MINNOW_TRY(b.linear(p.k, l.k, layer));
    MINNOW_TRY(b.linear(p.v, l.v, layer));
    MINNOW_TRY(b.linear(p.o, l.o, layer));
    MINNOW_TRY(b.linear(p.gate, l.gate, layer));
    MINNOW_TRY(b.linear(p.up, l.up, layer));
    MINNOW_TRY(b.linear(p.down, l.down, layer));
    if (l.gate_thresholds != nullptr) p.gate_mask = b.mask({layer, l.up, true, l.up->rows});
    MINNOW_TRY(b.codebooks(p, layer));
  }
  MINNOW_TRY(b.linear(plan.head, weights.head));
  MINNOW_TRY(b.linear(plan.embedding_in, weights.embedding_in));
  MINNOW_TRY(b.linear(plan.embedding_out, weights.embedding_out));
  MINNOW_TRY(check_supported(*weights.embedding));
  if (weights.embedding->input_order != nullptr || weights.embedding->thresholds != nullptr) {
    return fail(Code::unsupported,
                "the embedding has an input order or thresholds, which this version cannot apply");
  }
  return plan;
}

void dequantise_row(const LinearWeights& weights, uint32_t row, const KernelSet& kernels, float* out) {
  for (const SlabWeights& s : weights.slabs) {
    const uint8_t* codes = s.codes + row * s.code_stride;
    float* y = out + s.first;
    if (s.code == CodeType::f32) {
      const AxpyArgs copy{reinterpret_cast<const float*>(codes), y, s.count, 1.0f, 0.0f};
      kernels.axpy->fn(&copy);
    } else if (format::is_float(s.code)) {
      const ConvertArgs args{codes, y, s.count};
      (s.code == CodeType::f16 ? kernels.f16_to_f32 : kernels.bf16_to_f32)->fn(&args);
    } else {
      const int bits = static_cast<int>(format::bits_of(s.code));
      for (uint32_t g = 0; g < s.groups; ++g) {
        // Where a row's scales and zeros lie: a line of memory and a place in it.
        const size_t line = weights.layout == Layout::row     ? row
                            : weights.layout == Layout::panel ? row / kPanelOutputs
                                                              : g;
        const size_t at = weights.layout == Layout::row     ? g
                          : weights.layout == Layout::panel ? g * kPanelOutputs + row % kPanelOutputs
                                                            : row;
        const float scale =
            f32_of_f16(reinterpret_cast<const uint16_t*>(s.scales + line * s.scale_stride)[at]);
        const float zero =
            zero_in_row(s.zeros != nullptr ? s.zeros + line * s.zero_stride : nullptr, bits, at);
        const uint32_t end = std::min(s.count, (g + 1) * s.group);
        for (uint32_t i = g * s.group; i < end; ++i) {
          const int code =
              weights.layout == Layout::row ? code_in_run(codes, bits, s.padded, i)
              : weights.layout == Layout::panel
                  ? code_in_panel(s.codes + row / kPanelOutputs * s.code_stride, bits, row % kPanelOutputs, i)
                  : code_in_run(s.codes + i * s.code_stride, bits, weights.rows, row);
          y[i] = scale * (static_cast<float>(code) - zero);
        }
      }
    }
  }
  const uint32_t padded = round_up(weights.cols, format::kChannelPadding);
  std::fill(out + weights.cols, out + padded, 0.0f);
}

}  // namespace minnow::model
