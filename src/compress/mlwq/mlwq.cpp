#include "compress/mlwq/mlwq.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/cpu.h"
#include "compress/mlwq/checkpoint.h"
#include "compress/mlwq/orders.h"
#include "compress/mlwq/sensitivity.h"

namespace minnow::compress {
namespace {

constexpr size_t kCandidateRows = 128;
/// Gradients cost four times a forward pass, and more sequences than this add little to what they say.
constexpr uint32_t kMostGradients = 32;
constexpr uint64_t kManyParameters = 20'000'000;

/// A linear on its way: what it is, what it feels, how it may be stored.
struct Work {
  const ImportedLinear* source = nullptr;
  const Matrix* w = nullptr;  // (rows, cols), the source's order
  const LinearSensitivity* sensitivity = nullptr;
  std::vector<double> salience;                // (cols)
  const Order* stored = nullptr;               // order of the inputs, where it is free
  const Order* rows = nullptr;                 // order of the outputs, or null
  const Order* file_order = nullptr;           // o only: the order a file with several widths must name
  bool skippable = false, by_channel = false;  // up, down
  std::vector<Candidate> candidates;
  size_t chosen = 0;

  const Scheme& scheme() const { return candidates[chosen].scheme; }
  bool gathers(const Scheme& s) const { return file_order != nullptr && s.slabs.size() > 1; }
  format::Layout layout(const Scheme& s) const {
    return by_channel  ? format::Layout::channel
           : skippable ? skippable_layout(s, static_cast<uint32_t>(w->rows()))
                       : format::Layout::panel;
  }
  uint64_t bytes(const Scheme& s) const {
    return bytes_of(s, static_cast<uint32_t>(w->rows()), layout(s)) + (gathers(s) ? 4 * w->cols() : 0);
  }
};

/// Of --paper: the candidates of a linear, and their groups (128, or 64 where the linear is narrow).
constexpr size_t kPaperSplit = 0, kPaperUniform = 1, kPaperDropped = 2;
uint32_t paper_group(uint32_t cols) {
  return cols % 128 == 0 && cols >= 512 ? 128 : 64;
}
std::vector<Scheme> paper_schemes(uint32_t cols) {
  const uint32_t g = paper_group(cols), h = std::max(g, cols / 16 / g * g);
  if (cols % g != 0 || cols < 3 * h) return {{{{3, g, cols}}}, {{{3, g, cols}}}, {{{2, g, cols}}}};
  return {{{{4, g, h}, {3, g, cols - 2 * h}, {2, g, h}}},
          {{{3, g, cols}}},
          {{{4, g, h}, {3, g, h}, {2, g, cols - 2 * h}}}};
}

Status named(const std::string& linear, Status status) {
  return std::move(status).within(cat("linear '", linear, "'"));
}

/// sum_i G_i w_ik^2 / [H^-1]_kk^2: MLWQ's salience (equation 5) with each output weighed.
std::vector<double> salience_of(const Matrix& w, const LinearSensitivity& s, const Factor& f) {
  std::vector<double> out(w.cols(), 0.0);
  const double scale = s.moments.weight / s.tokens;
  for (size_t r = 0; r < w.rows(); ++r) {
    for (size_t c = 0; c < w.cols(); ++c) {
      const double d = double{w.row(r)[c]} / f.inverse[c];
      out[c] += scale * s.row_weights[r] * d * d;
    }
  }
  return out;
}

class Pipeline {
 public:
  Pipeline(const ImportedModel& model, const MlwqOptions& options, const MeasureFile& measure,
           ThreadPool& pool)
      : model_(model),
        o_(options),
        measure_(measure),
        pool_(pool),
        kernels_(model::select_kernels(detect_isa())),
        length_(std::min(options.length, model.config.max_context)),
        net_(model, kernels_, length_),
        checkpoint_(options.checkpoint) {}

  Result<QuantisedModel> run() {
    MINNOW_ASSIGN(float_, read_weights(model_, pool_));
    MINNOW_TRY(timed("calibration text", [&] { return sequences(); }));
    find_key();
    MINNOW_TRY(timed("sensitivity and candidates", [&] { return calibrate(); }));
    MINNOW_TRY(timed("allocation", [&] { return choose(); }));
    MINNOW_TRY(timed("quantisation", [&] { return quantise(); }));
    MINNOW_TRY(timed("held-out loss", [&] { return hold_out(); }));
    return std::move(out_);
  }

 private:
  void log(const std::string& s) const {
    if (o_.log) o_.log(s);
  }
  template <typename Stage>
  Status timed(const char* name, Stage&& stage) {
    const auto start = std::chrono::steady_clock::now();
    Status status = stage();
    out_.seconds.emplace_back(
        name, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    return status;
  }
  bool tick(const char* stage, uint64_t done, uint64_t total) const {
    return !o_.progress || o_.progress(stage, done, total);
  }

  Status sequences() {
    uint32_t count = o_.sequences;
    if (model_.parameters > kManyParameters) count = std::min(count, kMostGradients);
    if (o_.method == Method::rtn) return {};
    if (o_.calibration.empty()) {
      log("sampling calibration text from the model");
      MINNOW_ASSIGN(sequences_,
                    sample_sequences(net_, float_, model_.bos_id, length_, std::min(count, kMostGradients),
                                     o_.seed, pool_, o_.progress));
    } else {
      MINNOW_ASSIGN(sequences_, sequences_from_text(model_, o_.calibration, length_, count));
    }
    return {};
  }

  /// A hash of all that calibration depends on: weights, tokens, options.
  void find_key() {
    const auto add = [&](const auto& value) { key_ = add_to_key(key_, &value, sizeof value); };
    const auto matrix = [&](const Matrix& m) { key_ = add_to_key(key_, m.data(), m.size() * sizeof(float)); };
    for (const BlockWeights& b : float_.blocks) {
      for (const Matrix& m : b.w) matrix(m);
    }
    matrix(float_.embedding);
    matrix(float_.head);
    for (const auto& s : sequences_) key_ = add_to_key(key_, s.data(), s.size() * sizeof(int32_t));
    add(o_.method), add(o_.paper), add(o_.seed), add(o_.clip), add(o_.compensate), add(o_.damping);
    add(o_.weighted_tokens), add(o_.space.split);
    key_ = add_to_key(key_, o_.space.widths.data(), o_.space.widths.size() * 4);
    key_ = add_to_key(key_, o_.space.groups.data(), o_.space.groups.size() * 4);
  }

  /// Sensitivity, orders and candidates: found, or taken from an interrupted run.
  Status calibrate() {
    auto kept = checkpoint_.calibrated(key_);
    if (kept) {
      log("going on from what an interrupted run left");
      sensitivity_ = std::move(kept->sensitivity);
    } else if (o_.method == Method::rtn) {
      sensitivity_ = indifferent();
    } else {
      log("sensitivity");
      MINNOW_ASSIGN(sensitivity_, measure_sensitivity(net_, float_, sequences_, o_.weighted_tokens, o_.seed,
                                                      pool_, o_.progress));
      log(cat("loss of the calibration text before: ", sensitivity_.nll));
    }
    MINNOW_TRY(list_linears(kept ? &kept->salience : nullptr));
    if (kept && kept->candidates.size() == work_.size()) {
      for (size_t l = 0; l < work_.size(); ++l) work_[l].candidates = std::move(kept->candidates[l]);
      return {};
    }
    log("candidates");
    uint64_t done = 0;
    for (Work& work : work_) {
      MINNOW_TRY(find_candidates(work));
      if (!tick("candidates", ++done, work_.size())) return fail(Code::cancelled, "cancelled");
    }
    Calibrated c;
    c.sensitivity = std::move(sensitivity_);
    for (const Work& work : work_) {
      c.salience.push_back(work.salience);
      c.candidates.push_back(work.candidates);
    }
    Status status = checkpoint_.keep(key_, c);
    sensitivity_ = std::move(c.sensitivity);
    return status;
  }

  /// For rounding to nearest, which knows no calibration: every weight matters as its square does.
  Sensitivity indifferent() const {
    Sensitivity s;
    const auto flat = [&](const Matrix& w) {
      LinearSensitivity l;
      if (w.empty()) return l;
      double square = 0.0;
      for (float v : w.span()) square += double{v} * v;
      l.moments.second.reset(w.cols(), w.cols());
      for (size_t c = 0; c < w.cols(); ++c) l.moments.second.row(c)[c] = 1.0f;
      l.moments.weight = 1.0;
      l.tokens = square / static_cast<double>(w.size());  // the loss is relative, and counts by weights
      l.row_weights.assign(w.rows(), 1.0);
      return l;
    };
    for (const BlockWeights& b : float_.blocks) {
      BlockSensitivity block;
      for (Role r : kAllRoles) block.linear[static_cast<size_t>(r)] = flat(b[r]);
      s.blocks.push_back(std::move(block));
    }
    s.head = flat(float_.head_matrix());
    s.embedding_channels.assign(float_.embedding.cols(), 0.0);
    s.token_share.assign(float_.embedding.rows(), 1.0 / static_cast<double>(float_.embedding.rows()));
    if (!float_.head.empty()) s.embedding_channels.assign(float_.embedding.cols(), 1.0);
    return s;
  }

  /// Lists the linears, and finds the orders of their inputs by salience.
  Status list_linears(const std::vector<std::vector<double>>* kept) {
    const size_t blocks = float_.blocks.size();
    std::vector<double> hidden(model_.config.hidden_size, 0.0);
    orders_.ffn.resize(blocks), orders_.attn.resize(blocks);
    const auto add = [&](const ImportedLinear& source, const Matrix& w,
                         const LinearSensitivity& s) -> Status {
      Work work;
      work.source = &source, work.w = &w, work.sensitivity = &s;
      if (kept != nullptr && work_.size() < kept->size() && (*kept)[work_.size()].size() == w.cols()) {
        work.salience = (*kept)[work_.size()];
      } else {
        auto h = damped(s.moments, natural_order(w.cols()), o_.damping);
        if (!h.ok()) return named(source.name, std::move(h).status());
        MINNOW_ASSIGN(const Factor f, factor_inverse(*h, pool_));
        work.salience = salience_of(w, s, f);
      }
      work_.push_back(std::move(work));
      return {};
    };
    for (size_t b = 0; b < blocks; ++b) {
      for (Role r : kAllRoles) {
        const Matrix& w = float_.blocks[b][r];
        if (w.empty()) continue;
        MINNOW_TRY(
            add(linear_of(model_.layers[b], r), w, sensitivity_.blocks[b].linear[static_cast<size_t>(r)]));
        Work& work = work_.back();
        if (r == Role::o) {
          orders_.attn[b] = descending(work.salience);
        } else if (r == Role::down) {
          orders_.ffn[b] = descending(work.salience);
        } else {
          for (size_t c = 0; c < hidden.size(); ++c) hidden[c] += work.salience[c];
        }
      }
    }
    orders_.hidden = o_.paper ? natural_order(hidden.size()) : descending(hidden);
    gathered_ = descending(hidden);
    if (o_.method == Method::rtn) {  // knows no order
      orders_.hidden = natural_order(hidden.size());
      for (Order& o : orders_.ffn) o = natural_order(o.size());
    }
    natural_heads_ = natural_order(model_.config.q_size());
    size_t i = 0;
    for (size_t b = 0; b < blocks; ++b) {
      for (Role r : kAllRoles) {
        if (float_.blocks[b][r].empty()) continue;
        Work& work = work_[i++];
        work.stored = r == Role::o ? &natural_heads_ : &orders_.inputs(b, r);
        if (r == Role::o) work.file_order = &orders_.attn[b];
        if (r == Role::o || r == Role::down) work.rows = &orders_.hidden;
        if (r == Role::gate || r == Role::up) work.rows = &orders_.ffn[b];
        if (o_.paper && r != Role::o && r != Role::down) work.file_order = &gathered_;
        work.skippable = r == Role::up;
        work.by_channel = r == Role::down;
      }
    }
    if (o_.paper) return {};  // embedding and head stay as they are
    const bool tied = float_.head.empty();
    embedding_ = embedding_sensitivity(tied);
    ends_ = float_.in.empty() ? orders_.hidden : natural_order(float_.embedding.cols());
    MINNOW_TRY(add(model_.embedding, float_.embedding, embedding_));
    work_.back().stored = &ends_;
    if (!tied) {
      MINNOW_TRY(add(model_.head, float_.head, sensitivity_.head));
      work_.back().stored = &ends_;
    }
    return {};
  }

  /// The embedding as a look-up feels E[g_k^2] of each channel in a row as often as its token comes; tied,
  /// it feels what the head feels as well.
  LinearSensitivity embedding_sensitivity(bool tied) const {
    LinearSensitivity s;
    const size_t cols = float_.embedding.cols();
    const auto vocab = static_cast<double>(float_.embedding.rows());
    if (tied) {
      s = sensitivity_.head;
    } else {
      s.moments.second.reset(cols, cols);
      s.moments.weight = s.tokens = 1.0;
      for (double share : sensitivity_.token_share) s.row_weights.push_back(share * vocab);
    }
    for (size_t c = 0; c < cols; ++c)
      s.moments.second.row(c)[c] += static_cast<float>(sensitivity_.embedding_channels[c] * s.tokens / vocab);
    return s;
  }

  struct Prepared {
    Matrix h;
    Factor factor;
  };
  Result<Prepared> prepare(const Moments& m, const Order& order) {
    Prepared p;
    MINNOW_ASSIGN(p.h, damped(m, order, o_.damping));
    MINNOW_ASSIGN(p.factor, factor_inverse(p.h, pool_));
    return p;
  }

  GptqOptions gptq(uint32_t descents) const {
    GptqOptions g;
    g.clip = o_.clip;
    g.compensate = o_.compensate && o_.method != Method::rtn;
    g.descents = g.compensate ? descents : 0;
    return g;
  }

  /// Quantises some rows in every way there is. A candidate's loss is a sum over rows that differ little,
  /// so some stand for all.
  Status find_candidates(Work& work) {
    const Matrix& w = *work.w;
    const LinearSensitivity& s = *work.sensitivity;
    const size_t step = std::max<size_t>(1, w.rows() / kCandidateRows);
    Matrix some((w.rows() + step - 1) / step, w.cols());
    double share = 0.0, all = 0.0;
    for (size_t r = 0; r < w.rows(); ++r) {
      all += s.row_weights[r];
      if (r % step != 0) continue;
      share += s.row_weights[r];
      std::copy_n(w.row(r), w.cols(), some.row(r / step));
    }
    const Order by_salience = descending(work.salience);
    MINNOW_ASSIGN(const Prepared p, prepare(s.moments, by_salience));
    const Matrix wp = permuted_columns(some, by_salience);
    const auto cols = static_cast<uint32_t>(w.cols());
    for (const Scheme& scheme : o_.paper ? paper_schemes(cols) : candidate_schemes(cols, o_.space)) {
      auto trial = quantise_linear(wp, p.h, p.factor, groups_of(scheme), gptq(0), pool_);
      if (!trial.ok()) return named(work.source->name, std::move(trial).status());
      const GptqResult r = std::move(*trial);
      const std::vector<double> errors = row_errors(wp, r.values, p.h, pool_);
      double loss = 0.0;
      for (size_t i = 0; i < errors.size(); ++i) loss += errors[i] * s.row_weights[i * step];
      if (share > 0.0) loss *= all / share;
      work.candidates.push_back({scheme, work.bytes(scheme), 0.5 * loss * s.moments.weight / s.tokens});
    }
    return {};
  }

  uint64_t weight_bytes() const {
    uint64_t sum = 0;
    for (const Work& work : work_) sum += work.candidates[work.chosen].bytes;
    return sum;
  }

  /// Linears of the chosen schemes, all codes zero: for measuring what the file adds to them.
  QuantisedSet blank() const {
    QuantisedSet set;
    for (const Work& work : work_) {
      QuantisedLinear l;
      l.name = work.source->name;
      l.rows = static_cast<uint32_t>(work.w->rows()), l.cols = static_cast<uint32_t>(work.w->cols());
      if (work.gathers(work.scheme())) l.order = *work.file_order;
      uint32_t first = 0;
      for (const SlabSpec& spec : work.scheme().slabs) {
        QuantisedSlab s;
        s.code = code_type(spec.bits), s.group = spec.group, s.first = first, s.count = spec.count;
        s.codes.resize(size_t{l.rows} * s.count);
        s.scales.resize(size_t{l.rows} * s.groups());
        if (spec.bits != 8) s.zeros.resize(s.scales.size());
        first += spec.count;
        l.slabs.push_back(std::move(s));
      }
      const format::Layout layout = work.layout(work.scheme());
      set.entries.emplace(work.source->name, QuantisedSet::Entry{std::move(l), layout});
    }
    for (const auto& [name, entry] : projections_) set.entries.emplace(name, entry);
    return set;
  }

  /// BPLL as published: in each block the linear whose outputs' means and variances suffer least goes down
  /// to two bits, the others keep three; of three bits split into classes or not, the better stays.
  Status choose_as_published() {
    size_t l = 0;
    for (const BlockWeights& block : float_.blocks) {
      size_t dropped = 0;
      double least = 0.0;
      bool first = true;
      for (Role r : kAllRoles) {
        if (block[r].empty()) continue;
        Work& work = work_[l];
        work.chosen = work.candidates[kPaperSplit].loss < work.candidates[kPaperUniform].loss ? kPaperSplit
                                                                                              : kPaperUniform;
        const double rise = distance(work, 2) - distance(work, 3);
        if (first || rise < least) least = rise, dropped = l;
        first = false;
        ++l;
      }
      work_[dropped].chosen = kPaperDropped;
    }
    MINNOW_TRY(quantise_projections());
    MINNOW_ASSIGN(const uint64_t size, measure_(fold(model_, orders_), blank()));
    report_choice(size);
    return {};
  }

  /// MLWQ's Dist (equation 3) of rounding a linear to nearest at `bits`: mean over outputs of the change of
  /// mean and variance, from the moments of its inputs.
  double distance(const Work& work, uint32_t bits) const {
    const Moments& m = work.sensitivity->moments;
    const size_t cols = work.w->cols();
    std::vector<double> mean(cols);
    for (size_t c = 0; c < cols; ++c) mean[c] = m.first[c] / m.weight;
    const uint32_t group = paper_group(static_cast<uint32_t>(cols));
    double sum = 0.0;
    std::vector<float> q(cols);
    const auto statistics = [&](const float* row, double& mu, double& variance) {
      mu = variance = 0.0;
      for (size_t i = 0; i < cols; ++i) {
        mu += row[i] * mean[i];
        double along = 0.0;
        for (size_t j = 0; j < i; ++j) along += double{m.second.row(i)[j]} * row[j];
        variance += row[i] * (2.0 * along + double{m.second.row(i)[i]} * row[i]) / m.weight;
      }
      variance -= mu * mu;
    };
    for (size_t r = 0; r < work.w->rows(); ++r) {
      const float* w = work.w->row(r);
      for (uint32_t c = 0; c < cols; c += group) {
        const uint32_t n = std::min<uint32_t>(group, static_cast<uint32_t>(cols) - c);
        const Grid g = fit_grid(w + c, nullptr, n, bits, ClipSearch::none);
        const Rounding round(g, bits);
        for (uint32_t i = 0; i < n; ++i) q[c + i] = value_of(g, round(w[c + i]));
      }
      double mu_f, mu_q, var_f, var_q;
      statistics(w, mu_f, var_f);
      statistics(q.data(), mu_q, var_q);
      sum += std::fabs(mu_f - mu_q) + std::fabs(var_f - var_q);
    }
    return sum / static_cast<double>(work.w->rows());
  }

  Status choose() {
    if (o_.paper) return choose_as_published();
    MINNOW_TRY(quantise_projections());
    const auto ceiling = static_cast<uint64_t>(o_.bits * static_cast<double>(model_.parameters) / 8.0);
    std::vector<std::vector<Candidate>> lists;
    for (const Work& work : work_) lists.push_back(work.candidates);
    // What the file adds to the weights is measured, not guessed; it depends a little on the choice.
    uint64_t fixed = 0;
    for (int attempt = 0; attempt < 8; ++attempt) {
      const uint64_t budget = ceiling > fixed ? ceiling - fixed : 0;
      auto chosen =
          o_.across && o_.method == Method::mlwq ? allocate(lists, budget) : allocate_evenly(lists, budget);
      if (!chosen.ok()) {
        return std::move(chosen).status().within(cat("a file of ", o_.bits, " bits a parameter (", ceiling,
                                                     " bytes, ", fixed, " of them not weights)"));
      }
      for (size_t l = 0; l < work_.size(); ++l) work_[l].chosen = (*chosen)[l];
      MINNOW_ASSIGN(const uint64_t size, measure_(fold(model_, orders_), blank()));
      if (attempt > 0 && size <= ceiling) {
        report_choice(size);
        draw_curve(lists, fixed);
        return {};
      }
      fixed = attempt == 0 ? size - weight_bytes() : fixed + (size - ceiling) + 64;
    }
    return fail(Code::internal, "no allocation found that keeps to ", ceiling, " bytes");
  }

  /// Predicted losses of other budgets, for the report.
  void draw_curve(const std::vector<std::vector<Candidate>>& lists, uint64_t fixed) {
    for (int eighths = 16; eighths <= 48; ++eighths) {
      const double bits = eighths / 8.0;
      const double bytes = bits * static_cast<double>(model_.parameters) / 8.0 - static_cast<double>(fixed);
      const auto chosen = allocate(lists, static_cast<uint64_t>(std::max(bytes, 0.0)));
      if (!chosen.ok()) continue;
      double loss = 0.0;
      for (size_t l = 0; l < lists.size(); ++l) loss += lists[l][(*chosen)[l]].loss;
      out_.curve.push_back({bits, loss});
    }
  }

  void report_choice(uint64_t size) {
    double loss = 0.0;
    std::string all;
    for (size_t l = 0; l < work_.size(); ++l) {
      loss += work_[l].candidates[work_[l].chosen].loss;
      all += cat(l % kRoles == 0 ? "\n" : "  ", work_[l].scheme().text());
    }
    log(cat("file ", size, " bytes, weights ", weight_bytes(), ", ",
            static_cast<double>(size) * 8.0 / static_cast<double>(model_.parameters), " bits, predicted +",
            loss, all));
  }

  /// Was this linear finished by an interrupted run?
  bool resume_one(const Work& work, Matrix& values) {
    auto kept = checkpoint_.linear(choice_key_, static_cast<size_t>(&work - work_.data()));
    if (!kept || kept->name != work.source->name) return false;
    const Scheme& scheme = work.scheme();
    static const Order none;
    values = restore(*kept, work.gathers(scheme) ? *work.file_order : *work.stored,
                     work.rows != nullptr ? *work.rows : none);
    out_.linears.entries.emplace(work.source->name,
                                 QuantisedSet::Entry{std::move(*kept), work.layout(scheme)});
    return true;
  }

  Status quantise_one(const Work& work, const Moments& m, Matrix& values) {
    if (resume_one(work, values)) return {};
    const Scheme& scheme = work.scheme();
    const bool gathers = work.gathers(scheme);
    const Sequence seq = sequence_of(scheme, gathers ? *work.file_order : *work.stored, work.salience);
    MINNOW_ASSIGN(const Prepared p, prepare(m, seq.channels));
    auto quantised = quantise_linear(permuted_columns(*work.w, seq.channels), p.h, p.factor, seq.groups,
                                     gptq(o_.descents), pool_);
    if (!quantised.ok()) return named(work.source->name, std::move(quantised).status());
    const GptqResult r = std::move(*quantised);
    restore_columns(r.values, seq.channels, values);
    static const Order none;
    QuantisedLinear stored =
        store(work.source->name, r, scheme, seq, work.rows != nullptr ? *work.rows : none,
              gathers ? *work.file_order : none);
    Status status = checkpoint_.keep(choice_key_, static_cast<size_t>(&work - work_.data()), stored);
    out_.linears.entries.emplace(work.source->name,
                                 QuantisedSet::Entry{std::move(stored), work.layout(scheme)});
    return status;
  }

  /// The small projections beside the embedding of some models: 8 bits, to nearest.
  Status quantise_projections() {
    out_.values = float_;
    const auto one = [&](const ImportedLinear& source, const Matrix& w, const Order& in, const Order& rows,
                         Matrix& values) -> Status {
      const auto cols = static_cast<uint32_t>(w.cols());
      const Scheme scheme{{{8, 64, cols}}};
      const Sequence seq = sequence_of(scheme, in, std::vector<double>(cols, 1.0));
      GptqOptions options;
      options.compensate = false;
      Factor flat;
      flat.upper.reset(cols, cols);
      Matrix identity(cols, cols);
      for (uint32_t c = 0; c < cols; ++c) identity.row(c)[c] = flat.upper.row(c)[c] = 1.0f;
      auto quantised =
          quantise_linear(permuted_columns(w, seq.channels), identity, flat, seq.groups, options, pool_);
      if (!quantised.ok()) return named(source.name, std::move(quantised).status());
      const GptqResult r = std::move(*quantised);
      restore_columns(r.values, seq.channels, values);
      projections_.emplace(source.name, QuantisedSet::Entry{store(source.name, r, scheme, seq, rows, {}),
                                                            format::Layout::panel});
      return {};
    };
    const Order natural = natural_order(model_.config.embedding_size);
    if (!float_.in.empty()) {
      MINNOW_TRY(one(model_.embedding_in, float_.in, natural, orders_.hidden, out_.values.in));
    }
    if (!float_.out.empty()) {
      MINNOW_TRY(one(model_.embedding_out, float_.out, orders_.hidden, {}, out_.values.out));
    }
    return {};
  }

  const float* token_weights(size_t sequence, size_t block, size_t role) const {
    return o_.weighted_tokens ? sensitivity_.token_weights[sequence][block][role].data() : nullptr;
  }

  /// Moments of a block's inputs as the quantised blocks before it hand them on.
  Status gather(size_t b, std::vector<Matrix>& x, std::vector<Tape>& tapes,
                std::array<Moments, kRoles>& moments) {
    for (size_t first = 0; first < x.size(); first += tapes.size()) {
      const size_t n = std::min(tapes.size(), x.size() - first);
      MINNOW_TRY(for_sequences(pool_, n, [&](size_t i, uint32_t) {
        Matrix unused;
        net_.forward(float_.blocks[b], x[first + i], tapes[i], unused);
      }));
      for (size_t i = 0; i < n; ++i) {
        for (Role r : kAllRoles) {
          if (float_.blocks[b][r].empty()) continue;
          const auto role = static_cast<size_t>(r);
          add_moments(moments[role], tapes[i].input(r), token_weights(first + i, b, role), pool_);
        }
      }
    }
    return {};
  }

  /// Whether all linears of a block are there already, so that its moments need not be gathered.
  bool resumed(size_t first, size_t count) const {
    for (size_t l = first; l < first + count; ++l) {
      if (!checkpoint_.linear(choice_key_, l)) return false;
    }
    return true;
  }

  Status quantise() {
    log("quantise");
    choice_key_ = key_;
    for (const Work& work : work_) {
      const std::string text = work.scheme().text();
      choice_key_ = add_to_key(choice_key_, text.data(), text.size());
    }
    choice_key_ = add_to_key(choice_key_, &o_.descents, sizeof o_.descents);
    choice_key_ = add_to_key(choice_key_, &o_.propagate, sizeof o_.propagate);
    const bool propagate = o_.propagate && !sequences_.empty();
    out_.model = fold(model_, orders_);
    for (const auto& [name, entry] : projections_) out_.linears.entries.emplace(name, entry);
    const bool tied = float_.head.empty();
    if (!o_.paper) {
      const Work& embedding = work_[work_.size() - (tied ? 1 : 2)];
      MINNOW_TRY(quantise_one(embedding, embedding_.moments, out_.values.embedding));
    }
    std::vector<Matrix> x(sequences_.size());
    if (propagate) {
      pool_.parallel_for(sequences_.size(), 1, [&](size_t b, size_t e, uint32_t) {
        for (size_t s = b; s < e; ++s) net_.embed(sequences_[s], out_.values.embedding, out_.values.in, x[s]);
      });
    }
    std::vector<Tape> tapes(pool_.threads());
    size_t l = 0;
    for (size_t b = 0; b < float_.blocks.size(); ++b) {
      std::array<Moments, kRoles> moments;
      size_t linears = 0;
      for (Role r : kAllRoles) linears += !float_.blocks[b][r].empty();
      if (propagate && !resumed(l, linears)) MINNOW_TRY(gather(b, x, tapes, moments));
      for (Role r : kAllRoles) {
        if (float_.blocks[b][r].empty()) continue;
        const auto role = static_cast<size_t>(r);
        MINNOW_TRY(quantise_one(work_[l++],
                                propagate ? moments[role] : sensitivity_.blocks[b].linear[role].moments,
                                out_.values.blocks[b][r]));
      }
      if (propagate && b + 1 < float_.blocks.size()) {
        pool_.parallel_for(x.size(), 1, [&](size_t s0, size_t s1, uint32_t slot) {
          Matrix next;
          for (size_t s = s0; s < s1; ++s) {
            net_.forward(out_.values.blocks[b], x[s], tapes[slot], next);
            std::swap(x[s], next);
          }
        });
      }
      if (!tick("quantise", b + 1, float_.blocks.size())) return fail(Code::cancelled, "cancelled");
    }
    if (!tied && !o_.paper)
      MINNOW_TRY(quantise_one(work_.back(), sensitivity_.head.moments, out_.values.head));
    return {};
  }

  Status hold_out() {
    for (const Work& work : work_) {
      const Candidate& c = work.candidates[work.chosen];
      out_.summary.push_back({work.source->name, c.scheme.text(), c.bytes, work.w->size(), c.loss});
    }
    if (o_.held_out.empty()) return {};
    MINNOW_ASSIGN(const Sequences held,
                  sequences_from_text(model_, o_.held_out, length_, o_.held_out_sequences));
    out_.after = evaluate(net_, out_.values, held, length_ / 2 + 1, &float_, pool_);
    log(cat("held-out loss ", out_.after.reference_nll, " -> ", out_.after.nll, ", KL divergence ",
            out_.after.kld));
    return {};
  }

  const ImportedModel& model_;
  const MlwqOptions o_;
  const MeasureFile& measure_;
  ThreadPool& pool_;
  model::KernelSet kernels_;
  uint32_t length_;
  Network net_;
  Sequences sequences_;
  ModelWeights float_;
  Sensitivity sensitivity_;
  uint64_t key_ = 0, choice_key_ = 0;
  Checkpoint checkpoint_;
  LinearSensitivity embedding_;
  Orders orders_;
  Order natural_heads_, ends_, gathered_;
  std::vector<Work> work_;  // blocks in order, then embedding, then head
  std::map<std::string, QuantisedSet::Entry> projections_;
  QuantisedModel out_;
};

}  // namespace

Result<QuantisedModel> quantise_model(const ImportedModel& model, const MlwqOptions& given,
                                      const MeasureFile& measure) {
  MlwqOptions options = given;
  if (options.paper || options.method != Method::mlwq) {  // what the published methods have
    options.clip = ClipSearch::plain;
    options.descents = 0;
    options.weighted_tokens = false;
    options.space.split = false;
  }
  if (options.paper) options.method = Method::mlwq;
  MINNOW_ASSIGN(const std::unique_ptr<ThreadPool> pool, ThreadPool::create(options.threads));
  return Pipeline(model, options, measure, *pool).run();
}

}  // namespace minnow::compress
