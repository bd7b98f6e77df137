#include "model/plan.h"

#include <algorithm>

#include "base/checked.h"
#include "base/cpu.h"

namespace minnow::model {
namespace {

Status check_supported(const LinearWeights& w) {
  for (const SlabWeights& s : w.slabs) {
    const bool known = w.layout == Layout::row && (format::is_float(s.code) || s.code == CodeType::u8);
    if (!known) {
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
    if (s.zero_type == format::ZeroType::u4) {
      return fail(Code::unsupported, "linear '", w.name,
                  "' has 4-bit zeros, for which this version has no kernel");
    }
  }
  if (w.thresholds != nullptr || w.input_centre != nullptr) {
    return fail(Code::unsupported, "linear '", w.name,
                "' has activation thresholds, which this version cannot apply");
  }
  return {};
}

InputForm form_of(const LinearWeights& w) {
  InputForm f;
  f.order = w.input_order;
  for (const SlabWeights& s : w.slabs) {
    InputPiece p{s.first, s.count, s.padded, s.group};
    if (s.group == 0) {
      p.offset = f.floats;
      f.floats += s.padded;
    } else {
      p.offset = f.codes;
      p.group_offset = f.groups;
      f.codes += s.padded;
      f.groups += s.groups;
    }
    f.pieces.push_back(p);
  }
  return f;
}

class Builder {
 public:
  explicit Builder(Plan& plan) : plan_(plan) {}

  Status linear(PlanLinear& slot, const LinearWeights* w) {
    if (w == nullptr) return {};
    MINNOW_TRY(check_supported(*w));
    slot.weights = w;
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

 private:
  Plan& plan_;
};

}  // namespace

bool InputForm::operator==(const InputForm& other) const {
  return order == other.order && std::equal(pieces.begin(), pieces.end(), other.pieces.begin(),
                                            other.pieces.end(), [](const InputPiece& a, const InputPiece& b) {
                                              return a.first == b.first && a.count == b.count &&
                                                     a.group == b.group;
                                            });
}

Result<Plan> Plan::create(const Weights& weights, uint32_t isa, bool xnnpack) {
  Plan plan;
  plan.config = &weights.config();
  plan.weights = &weights;
  plan.kernels = select_kernels(isa);
  plan.use_xnnpack = xnnpack && isa == detect_isa();
  plan.bytes_per_token = model::bytes_per_token(weights);
  Builder b(plan);
  plan.layers.reserve(weights.layers.size());
  for (const LayerWeights& l : weights.layers) {
    PlanLayer& p = plan.layers.emplace_back();
    p.weights = &l;
    MINNOW_TRY(b.linear(p.q, l.q));
    MINNOW_TRY(b.linear(p.k, l.k));
    MINNOW_TRY(b.linear(p.v, l.v));
    MINNOW_TRY(b.linear(p.o, l.o));
    MINNOW_TRY(b.linear(p.gate, l.gate));
    MINNOW_TRY(b.linear(p.up, l.up));
    MINNOW_TRY(b.linear(p.down, l.down));
  }
  MINNOW_TRY(b.linear(plan.head, weights.head));
  MINNOW_TRY(b.linear(plan.embedding_in, weights.embedding_in));
  MINNOW_TRY(b.linear(plan.embedding_out, weights.embedding_out));
  MINNOW_TRY(check_supported(*weights.embedding));
  if (weights.embedding->input_order != nullptr) {
    return fail(Code::unsupported, "the embedding has an input order, which this version cannot apply");
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
    } else {  // u8; other widths were refused by Plan::create
      for (uint32_t g = 0; g < s.groups; ++g) {
        float scale = 0.0f;
        const ConvertArgs args{s.scales + row * s.scale_stride + 2 * g, &scale, 1};
        kernels.f16_to_f32->fn(&args);
        const int zero = s.zeros != nullptr ? s.zeros[row * s.zero_stride + g] : 128;
        const uint32_t end = std::min(s.count, (g + 1) * s.group);
        for (uint32_t i = g * s.group; i < end; ++i) y[i] = scale * static_cast<float>(int(codes[i]) - zero);
      }
    }
  }
  const uint32_t padded = round_up(weights.cols, format::kChannelPadding);
  std::fill(out + weights.cols, out + padded, 0.0f);
}

}  // namespace minnow::model
