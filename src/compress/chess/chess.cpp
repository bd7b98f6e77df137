#include "compress/chess/chess.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <memory>
#include <optional>

#include "base/cpu.h"
#include "compress/chess/allocation.h"
#include "compress/chess/statistics.h"
#include "compress/json.h"
#include "compress/runtime_text.h"
#include "exec/float_gemm.h"
#include "sampling/sampler.h"

namespace minnow::compress {
namespace {

using exec::Decoder;
using Norms = std::vector<std::array<std::vector<float>, kRoles>>;

/// What one linear's thresholds are when T is that of scores x * weight: a channel that weighs nothing never
/// matters.
std::vector<float> divided(float threshold, const std::vector<float>& weights) {
  std::vector<float> out(weights.size());
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = threshold == 0.0f   ? 0.0f
             : weights[i] > 0.0f ? std::min(threshold / weights[i], FLT_MAX)
                                 : FLT_MAX;
  }
  return out;
}

/// Runs the model as it will run, with thresholds held in memory.
class Calibrator {
 public:
  static Result<std::unique_ptr<Calibrator>> create(const std::string& input,
                                                    const SparsityOptions& options) {
    std::unique_ptr<Calibrator> c(new Calibrator(options));
    MINNOW_ASSIGN(c->model_, OpenModel::open(input, options.threads));
    c->weights_ = c->model_.weights.get();
    c->thresholds_.resize(c->weights_->layers.size());
    c->norms_.resize(c->weights_->layers.size());
    MINNOW_TRY(c->plan());
    return c;
  }

  const format::Container& container() const { return *model_.container; }
  ThreadPool& pool() { return *model_.pool; }
  size_t layers() const { return weights_->layers.size(); }
  bool gated() const { return weights_->config().ffn == format::FfnKind::gated; }

  Status sequences() {
    RuntimeText text;
    text.files = options_.calibration;
    text.length = std::min(options_.length, weights_->config().max_context);
    text.tokens = options_.tokens;
    text.seed = options_.seed;
    text.progress = [&](uint64_t done, uint64_t total) {
      return report("sparsity, sampling text", done, total);
    };
    MINNOW_ASSIGN(sequences_, runtime_text(model_, *plan_, text));
    return {};
  }

  /// Both passes. `gate_weights` are asked for between them.
  Status passes(bool table) {
    for (size_t l = 0; l < layers(); ++l) {
      for (const Role r : {Role::q, Role::o, Role::gate, Role::down}) {
        const auto* w = linear_of(weights_->layers[l], r);
        if (w != nullptr) norms_[l][size_t(r)] = input_norms(*w, plan_->kernels, *model_.pool);
      }
    }
    statistics_.resize(layers());
    FirstPass first(*weights_, norms_, statistics_);
    MINNOW_TRY(run("sparsity, first pass", &first));
    first.finish();
    channel_weights_.resize(layers());
    if (!gated()) return {};
    for (size_t l = 0; l < layers(); ++l) {
      const std::vector<float>& norm = norms_[l][size_t(Role::down)];
      channel_weights_[l] = options_.rms ? statistics_[l].up_rms : statistics_[l].up_mean;
      if (options_.method == SparsityMethod::cats)
        std::fill(channel_weights_[l].begin(), channel_weights_[l].end(), 1.0f);
      if (options_.method == SparsityMethod::chess || options_.method == SparsityMethod::cats ||
          options_.method == SparsityMethod::oracle)
        continue;
      for (size_t i = 0; i < norm.size(); ++i) channel_weights_[l][i] *= norm[i];
    }
    SecondPass second(channel_weights_, norms_, table, statistics_);
    return run("sparsity, second pass", &second);
  }

  /// The published ways: one share everywhere.
  Thresholds evenly() const {
    const double k = options_.share;
    const bool norms = options_.method == SparsityMethod::wina;
    Thresholds out(layers());
    for (size_t l = 0; l < layers(); ++l) {
      const LayerStatistics& s = statistics_[l];
      const auto input = [&](Role r) {
        const auto& norm = norms_[l][size_t(r)];
        out[l][r] = norms ? divided(s.weighted[size_t(r)].quantile(k), norm)
                          : std::vector<float>(norm.size(), s.plain[size_t(r)].quantile(k));
      };
      input(Role::q);
      input(Role::o);
      if (!gated()) {
        // Without a gate the activation itself is at hand: with weight norms, the exact score.
        out[l][Role::down] =
            divided(s.weighted[size_t(Role::down)].quantile(k), norms_[l][size_t(Role::down)]);
      } else if (options_.method == SparsityMethod::oracle) {
        out[l][Role::down].assign(norms_[l][size_t(Role::down)].size(), s.product.quantile(k));
      } else {
        out[l].gate = divided(s.score.quantile(k), channel_weights_[l]);
        out[l][Role::down].assign(out[l].gate.size(), 0.0f);  // what the gate zeroed
      }
    }
    return out;
  }

  /// One budget for all, by measured loss.
  Result<Thresholds> allocated() {
    const bool products = options_.method == SparsityMethod::best && gated();
    MINNOW_TRY(measure_dense());
    struct Item {
      size_t layer;
      Role role;  // down stands for the whole FFN
    };
    std::vector<Item> items;
    std::vector<Menu> menus;
    std::vector<Role> roles = {Role::q, Role::o, Role::down};
    if (products) roles.push_back(Role::gate);
    double wanted = 0.0;
    for (size_t l = 0; l < layers(); ++l) {
      const model::LayerWeights& w = weights_->layers[l];
      for (const Role r : {Role::q, Role::o, Role::up, Role::down}) {
        if (r == Role::up && !gated()) continue;
        wanted += options_.share * static_cast<double>(linear_of(w, r)->weight_count());
      }
      for (const Role r : roles) {
        MINNOW_ASSIGN(const double sensitivity, sensitivity_of(l, r));
        const LayerStatistics& s = statistics_[l];
        items.push_back({l, r});
        const uint64_t count = linear_of(w, r)->weight_count();
        if (r != Role::down || !gated())
          menus.emplace_back(s.weighted[size_t(r)], count, sensitivity, options_.least);
        else if (products)
          menus.emplace_back(s.table, count, sensitivity, options_.least);
        else
          menus.emplace_back(gate_only(s.table), 2 * count, sensitivity, options_.least);
        if (!report("sparsity, sensitivities", items.size(), layers() * roles.size()))
          return fail(Code::cancelled, "cancelled");
      }
    }
    const std::vector<Menu::Choice> choices = spend(menus, wanted);
    Thresholds out(layers());
    for (size_t i = 0; i < items.size(); ++i) {
      const auto [l, r] = items[i];
      const LayerStatistics& s = statistics_[l];
      const std::vector<float>& norm = norms_[l][size_t(r)];
      const uint32_t index = choices[i].index;
      if (r != Role::down || !gated()) {
        const Histogram& h = s.weighted[size_t(r)];
        out[l][r] = divided(index == 0 ? 0.0f : h.edge(index - 1), norm);
      } else if (products) {
        const GateCuts cuts = cuts_of(s.table, index);
        out[l].gate = divided(cuts.gate, channel_weights_[l]);
        out[l][r] = divided(cuts.product, norm);
      } else {
        out[l].gate = divided(index == 0 ? 0.0f : s.table.gate.edge(index - 1), channel_weights_[l]);
        out[l][r].assign(out[l].gate.size(), 0.0f);
      }
    }
    return out;
  }

 private:
  explicit Calibrator(const SparsityOptions& options) : options_(options) {}

  bool report(const char* stage, uint64_t done, uint64_t total) const {
    return !options_.progress || options_.progress(stage, done, total);
  }

  /// A histogram of gate scores that costs what the products cost.
  static Histogram gate_only(const GateTable& t) {
    Histogram out(8);
    for (uint32_t g = 0; g < GateTable::kGateBuckets; ++g) {
      for (uint32_t p = 0; p < GateTable::kProductBuckets; ++p) {
        const size_t at = size_t{g} * GateTable::kProductBuckets + p;
        out.add_many(g, t.counts[at], t.costs[at]);
      }
    }
    return out;
  }

  /// A plan for thresholds_, which the weights then point to.
  Status plan() {
    slab_order_.clear();
    slab_order_.resize(layers() * kRoles);
    for (size_t l = 0; l < layers(); ++l) {
      model::LayerWeights& w = weights_->layers[l];
      w.gate_thresholds = thresholds_[l].gate.empty() ? nullptr : thresholds_[l].gate.data();
      for (const Role r : kAllRoles) {
        const model::LinearWeights* linear = linear_of(w, r);
        if (linear == nullptr) continue;
        std::vector<float>& values = slab_order_[l * kRoles + size_t(r)];
        if (!thresholds_[l][r].empty()) values = in_slab_order(*linear, thresholds_[l][r]);
        weights_->linears[static_cast<size_t>(linear - weights_->linears.data())].thresholds =
            values.empty() ? nullptr : values.data();
      }
    }
    MINNOW_ASSIGN(model::Plan plan,
                  model::Plan::create(*weights_, detect_isa(), exec::float_gemm_available()));
    plan_ = std::make_unique<model::Plan>(std::move(plan));
    return {};
  }

  Result<Decoder> decoder(exec::Probe* probe, bool masks, uint32_t context, uint32_t logit_rows) {
    exec::DecoderOptions o;
    o.context = context;
    o.probe = probe;
    o.sparsity = o.mask_prompts = masks;
    o.logit_rows = logit_rows;
    return Decoder::create(*plan_, *model_.pool, o);
  }

  Status run(const char* stage, exec::Probe* probe) {
    MINNOW_ASSIGN(Decoder d, decoder(probe, false, static_cast<uint32_t>(sequences_.front().size()), 1));
    for (size_t i = 0; i < sequences_.size(); ++i) {
      d.rewind(0);
      MINNOW_TRY(d.forward(sequences_[i]));
      if (!report(stage, i + 1, sequences_.size())) return fail(Code::cancelled, "cancelled");
    }
    return {};
  }

  // ---- what a mask does to the model's predictions

  /// Tokens that sensitivities are measured on, and how many of their predictions are kept.
  static constexpr uint32_t kProbeSequences = 4, kProbeLength = 256;
  static constexpr uint64_t kKeptBytes = uint64_t{256} << 20;

  class Kept : public exec::LogitsSink {
   public:
    Kept(std::vector<float>& rows, uint32_t step) : rows_(rows), step_(step) {}
    Status row(size_t index, std::span<const float> logits) override {
      if (index % step_ != 0) return {};
      const double sum = sampling::log_sum_exp(logits);
      for (const float v : logits) rows_.push_back(static_cast<float>(v - sum));
      return {};
    }

   private:
    std::vector<float>& rows_;
    uint32_t step_;
  };

  class Divergence : public exec::LogitsSink {
   public:
    Divergence(const std::vector<float>& rows, uint32_t step) : rows_(rows), step_(step) {}
    Status row(size_t index, std::span<const float> logits) override {
      if (index % step_ != 0) return {};
      const double sum = sampling::log_sum_exp(logits);
      const float* p = rows_.data() + next_;
      double kl = 0.0;
      for (size_t i = 0; i < logits.size(); ++i) {
        if (p[i] > -30.0f) kl += std::exp(p[i]) * (double{p[i]} - (double{logits[i]} - sum));
      }
      total_ += kl, ++count_, next_ += logits.size();
      return {};
    }
    double mean() const { return total_ / static_cast<double>(std::max<uint64_t>(count_, 1)); }

   private:
    const std::vector<float>& rows_;
    uint32_t step_;
    size_t next_ = 0;
    double total_ = 0.0;
    uint64_t count_ = 0;
  };

  Status over_probe_tokens(exec::LogitsSink& sink, bool masks) {
    const auto length = static_cast<uint32_t>(std::min<size_t>(kProbeLength, sequences_.front().size()));
    MINNOW_ASSIGN(Decoder d, decoder(nullptr, masks, length, 32));
    const size_t count = std::min<size_t>(kProbeSequences, sequences_.size());
    for (size_t i = 0; i < count; ++i) {
      const auto& tokens = sequences_[i * sequences_.size() / count];
      d.rewind(0);
      MINNOW_TRY(d.forward(std::span(tokens).first(length), &sink));
    }
    return {};
  }

  Status measure_dense() {
    const uint64_t row = uint64_t{weights_->config().vocab_size} * sizeof(float);
    const uint64_t tokens = uint64_t{kProbeSequences} * kProbeLength;
    step_ = static_cast<uint32_t>((tokens * row + kKeptBytes - 1) / kKeptBytes);
    dense_.reserve(tokens / step_ * weights_->config().vocab_size);
    Kept kept(dense_, step_);
    return over_probe_tokens(kept, false);
  }

  /// Loss (KL divergence from the dense model) per unit of mean cost, of masking this one place.
  Result<double> sensitivity_of(size_t l, Role role) {
    constexpr double kShare = 0.6;  // about where thresholds come to lie
    const LayerStatistics& s = statistics_[l];
    std::fill(thresholds_.begin(), thresholds_.end(), LayerThresholds{});
    double cost = 0.0, samples = 0.0, reached = 0.0;
    float cut = 0.0f;
    if (role == Role::down && gated()) {
      std::vector<double> count(GateTable::kProductBuckets), costs(count.size());
      for (size_t at = 0; at < s.table.counts.size(); ++at) {
        count[at % count.size()] += s.table.counts[at], costs[at % count.size()] += s.table.costs[at];
      }
      samples = static_cast<double>(s.table.total);
      for (uint32_t p = 0; p < count.size() && reached < kShare * samples; ++p) {
        reached += count[p], cost += costs[p], cut = s.table.product.edge(p);
      }
    } else {
      const Histogram& h = s.weighted[size_t(role)];
      samples = static_cast<double>(h.total());
      for (uint32_t b = 0; b < h.size() && reached < kShare * samples; ++b)
        reached += static_cast<double>(h.counts[b]), cost += h.costs[b], cut = h.edge(b);
    }
    if (cost <= 0.0) return 0.0;
    thresholds_[l][role] = divided(cut, norms_[l][size_t(role)]);
    MINNOW_TRY(plan());
    Divergence d(dense_, step_);
    MINNOW_TRY(over_probe_tokens(d, true));
    std::fill(thresholds_.begin(), thresholds_.end(), LayerThresholds{});
    MINNOW_TRY(plan());
    return std::max(d.mean(), 0.0) / (cost / samples);
  }

  const SparsityOptions& options_;
  OpenModel model_;
  model::Weights* weights_ = nullptr;
  std::unique_ptr<model::Plan> plan_;
  Thresholds thresholds_;  // what the plan masks with
  std::vector<std::vector<float>> slab_order_;
  Norms norms_;
  Sequences sequences_;
  std::vector<LayerStatistics> statistics_;
  std::vector<std::vector<float>> channel_weights_;  // what |act(gate)| is multiplied by
  std::vector<float> dense_;                         // log-probabilities of the dense model
  uint32_t step_ = 1;
};

bool allocates(SparsityMethod m) {
  return m == SparsityMethod::best || m == SparsityMethod::teal;
}

Status check(const SparsityOptions& o) {
  if (!(o.share >= 0.0 && o.share <= 0.95)) {
    return fail(Code::invalid_argument, "a sparsity of ", o.share,
                " was asked for; it lies between 0 and 0.95");
  }
  for (const double least : {o.least.rows, o.least.inputs}) {
    if (least >= 0.0 && least < 1.0) continue;
    return fail(Code::invalid_argument, "matrices were to leave out at least ", least,
                " of their weights or nothing; that share is at least 0 and below 1");
  }
  return {};
}

}  // namespace

const char* name_of(SparsityMethod method) {
  constexpr const char* kNames[] = {"best", "chess", "cats", "wina", "teal", "oracle"};
  return kNames[static_cast<size_t>(method)];
}

double nominal_activated_fraction(const format::Config& c, size_t layers, double share, bool attention) {
  const auto n = static_cast<double>(layers);
  const double d = c.hidden_size, q = c.q_size(), kv = c.kv_size(), f = c.ffn_size, v = c.vocab_size;
  const bool gated = c.ffn == format::FfnKind::gated;
  const double all = n * (2.0 * d * q + 2.0 * d * kv + (gated ? 3.0 : 2.0) * d * f) + v * d;
  const double left_out = n * share * ((gated ? 2.0 : 1.0) * d * f + (attention ? 2.0 * d * q : 0.0));
  return 1.0 - left_out / all;
}

Result<CompressReport> add_sparsity(const std::string& input, const SparsityOptions& options,
                                    const std::string& output) {
  MINNOW_TRY(check(options));
  MINNOW_ASSIGN(const auto calibrator, Calibrator::create(input, options));
  MINNOW_TRY(calibrator->sequences());
  const bool allocate = options.share > 0.0 && allocates(options.method);
  MINNOW_TRY(calibrator->passes(allocate));
  Thresholds thresholds = calibrator->evenly();
  if (allocate) {
    MINNOW_ASSIGN(thresholds, calibrator->allocated());
  }
  const Json settings = {{"share", options.share},
                         {"method", name_of(options.method)},
                         {"least_rows", options.least.rows},
                         {"least_inputs", options.least.inputs},
                         {"channel_weight", options.rms ? "rms" : "mean_abs"}};
  return write_with_thresholds(calibrator->container(), thresholds, settings.dump(), calibrator->pool(),
                               output);
}

Result<CompressReport> try_sparsity(const std::string& input, const SparsityOptions& options,
                                    const std::string& output) {
  MINNOW_TRY(check(options));
  MINNOW_ASSIGN(const auto calibrator, Calibrator::create(input, options));
  const format::Config& c = calibrator->container().metadata().config;
  // Values that nothing shares, as calibration gives them.
  Thresholds all(calibrator->layers());
  float next = 0.0f;
  const auto fill = [&](std::vector<float>& v, size_t n) { v.assign(n, next += 1.0f); };
  for (LayerThresholds& l : all) {
    fill(l[Role::q], c.hidden_size);
    fill(l[Role::o], c.q_size());
    fill(l[Role::down], c.ffn_size);
    if (calibrator->gated()) fill(l.gate, c.ffn_size);
    if (calibrator->gated() && options.method == SparsityMethod::best) fill(l[Role::gate], c.hidden_size);
  }
  return write_with_thresholds(calibrator->container(), all,
                               Json{{"share", 0.123456789012345678},
                                    {"method", "oracle"},
                                    {"least_rows", 0.123456789012345678},
                                    {"least_inputs", 0.123456789012345678},
                                    {"channel_weight", "mean_abs"}}
                                   .dump(),
                               calibrator->pool(), output);
}

}  // namespace minnow::compress
