#include "compress/mlwq/mlwq.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include "base/cpu.h"
#include "compress/mlwq/checkpoint.h"
#include "compress/mlwq/orders.h"
#include "compress/mlwq/propagation.h"
#include "compress/mlwq/sensitivity.h"
#include "compress/mlwq/work.h"
#include "compress/sample.h"

namespace minnow::compress {
namespace {

/// A sequence costs six times the arithmetic with its gradients and its drift (docs/compression.md), so
/// models of many parameters take those of this many, or of more where the widest linear would see too few
/// tokens.
constexpr uint64_t kManyParameters = 20'000'000;
constexpr uint32_t kFewGradients = 8, kTokensAnInput = 4;
/// Counts up with every change of what calibration finds, so that what an older version has left is not used.
constexpr uint32_t kMethodVersion = 3;

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
        checkpoint_(options.checkpoint),
        spill_(options.scratch + ".spill", options.memory) {}

  Result<QuantisedModel> run() {
    MINNOW_TRY(timed("calibration text", [&] { return sequences(); }));
    find_key();
    list_linears();
    MINNOW_TRY(timed("sensitivity and candidates", [&] { return calibrate(); }));
    find_orders();
    MINNOW_TRY(timed("allocation", [&] { return choose(); }));
    MINNOW_TRY(timed("quantisation", [&] { return quantise(); }));
    MINNOW_TRY(timed("held-out loss", [&] { return hold_out(); }));
    return std::move(out_);
  }

 private:
  template <typename Stage>
  Status timed(const char* name, Stage&& stage) {
    const auto start = std::chrono::steady_clock::now();
    Status status = stage();
    out_.seconds.emplace_back(
        name, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    return status;
  }
  Status tick(const char* stage, uint64_t done, uint64_t total) const {
    if (!o_.progress || o_.progress(stage, done, total)) return {};
    return fail(Code::cancelled, "cancelled");
  }

  size_t blocks() const { return model_.layers.size(); }
  bool tied() const { return !model_.head.present(); }
  /// Whether moments come from the quantised blocks, so that those of the float model are not kept.
  bool propagates() const { return o_.propagate && !sequences_.empty(); }

  Status sequences() {
    if (o_.method == Method::rtn) return {};
    if (o_.calibration.empty()) {
      SampleOptions s;
      s.count = o_.sequences, s.length = length_, s.seed = o_.seed, s.memory = o_.memory;
      s.progress = [&](uint64_t done, uint64_t total) {
        return !o_.progress || o_.progress("sampling", done, total);
      };
      MINNOW_ASSIGN(sequences_, sample_sequences(model_, s, o_.scratch + ".sample", pool_));
    } else {
      MINNOW_ASSIGN(sequences_, sequences_from_text(model_, o_.calibration, length_, o_.sequences));
    }
    const size_t count = sequences_.size();
    followed_ = count;
    if (o_.gradients != 0) {
      followed_ = std::min<size_t>(count, o_.gradients);
    } else if (model_.parameters > kManyParameters) {
      const format::Config& c = model_.config;
      const uint64_t inputs = std::max({c.hidden_size, c.q_size(), c.ffn_size});
      const uint64_t enough = (kTokensAnInput * inputs + length_ - 1) / length_;
      followed_ = std::min<uint64_t>(count, std::max<uint64_t>(kFewGradients, enough));
    }
    // Those spread evenly over the text come to the front.
    for (size_t i = 0; i < followed_; ++i) std::swap(sequences_[i], sequences_[i * count / followed_]);
    out_.sequences = static_cast<uint32_t>(count);
    return {};
  }
  /// The sequences whose gradients and drift are known.
  SequenceSpan followed() const { return SequenceSpan(sequences_).first(followed_); }

  /// A hash of all that calibration depends on: weights, tokens, options.
  void find_key() {
    const auto add = [&](const auto& value) { key_ = add_to_key(key_, &value, sizeof value); };
    const auto list = [&](const auto& v) { key_ = add_to_key(key_, v.data(), v.size() * sizeof v[0]); };
    const auto linear = [&](const ImportedLinear& l) {
      if (!l.present()) return;
      const RowSource& w = l.weight;
      const uint64_t row = source_bytes(w.tensor->type, w.cols);
      key_ = add_to_key(key_, w.tensor->data + w.first_row * row, w.rows * row);
      list(l.bias);
      w.forget();
    };
    const auto norm = [&](const ImportedNorm& n) { list(n.weight), list(n.bias); };
    for (const ImportedLayer& l : model_.layers) {
      for (Role r : kAllRoles) linear(linear_of(l, r));
      norm(l.attn_norm), norm(l.attn_post_norm), norm(l.ffn_norm), norm(l.ffn_post_norm);
      norm(l.q_norm), norm(l.k_norm);
    }
    linear(model_.embedding), linear(model_.head);
    linear(model_.embedding_in), linear(model_.embedding_out);
    list(model_.positions), norm(model_.final_norm);
    for (const auto& s : sequences_) list(s);
    add(kMethodVersion), add(o_.method), add(o_.paper), add(o_.seed), add(o_.clip), add(o_.compensate),
        add(o_.damping);
    add(o_.weighted_tokens), add(o_.propagate), add(o_.space.split), add(followed_);
    list(o_.space.widths), list(o_.space.groups);
  }

  /// Lists the linears: blocks in order, then embedding and head. The orders they point to are found later.
  void list_linears() {
    orders_.ffn.resize(blocks()), orders_.attn.resize(blocks());
    for (size_t b = 0; b < blocks(); ++b) {
      first_.push_back(work_.size());
      for (Role r : kAllRoles) {
        const ImportedLinear& source = linear_of(model_.layers[b], r);
        if (!source.present()) continue;
        Work work;
        work.source = &source, work.role = r;
        work.stored = r == Role::o ? &natural_heads_ : &orders_.inputs(b, r);
        if (r == Role::o) work.file_order = &orders_.attn[b];
        if (r == Role::o || r == Role::down) work.rows = &orders_.hidden;
        if (r == Role::gate || r == Role::up) work.rows = &orders_.ffn[b];
        if (o_.paper && r != Role::o && r != Role::down) work.file_order = &gathered_;
        work.skippable = r == Role::up;
        work.by_channel = r == Role::down;
        work_.push_back(std::move(work));
      }
    }
    first_.push_back(work_.size());
    if (o_.paper) return;  // embedding and head stay as they are
    for (const ImportedLinear* source : {&model_.embedding, &model_.head}) {
      if (!source->present()) continue;
      Work work;
      work.source = source, work.stored = &ends_order_;
      work_.push_back(std::move(work));
    }
  }
  Work* embedding_work() { return o_.paper ? nullptr : &work_[first_.back()]; }
  Work* head_work() { return o_.paper || tied() ? nullptr : &work_.back(); }

  /// Sensitivity and candidates: found, or taken from an interrupted run.
  Status calibrate() {
    token_weights_.resize(blocks());
    bool kept = true;
    for (size_t b = 0; b < blocks() && kept; ++b) kept = take_block(b);
    if (auto ends = checkpoint_.ends(key_); kept && ends) {
      if (Work* w = embedding_work()) w->found = std::move(ends->embedding);
      if (Work* w = head_work()) w->found = std::move(ends->head);
      return {};
    }
    CalibratedEnds ends;
    if (o_.method == Method::rtn) {
      for (size_t b = 0; b < blocks(); ++b) {
        MINNOW_ASSIGN(const BlockWeights w, read_block(model_.layers[b], pool_));
        BlockSensitivity s;
        for (Role r : kAllRoles) {
          if (!w[r].empty()) s.linear[static_cast<size_t>(r)] = indifferent(w[r]);
        }
        MINNOW_TRY(calibrate_block(b, w, std::move(s)));
        MINNOW_TRY(tick("sensitivity", b + 1, blocks()));
      }
    } else {
      MINNOW_ASSIGN(ends.sensitivity,
                    measure_sensitivity(
                        net_, model_, followed(), o_.weighted_tokens, o_.seed, pool_, spill_,
                        [&](size_t b, const BlockWeights& w, BlockSensitivity s) {
                          return calibrate_block(b, w, std::move(s));
                        },
                        o_.progress));
    }
    if (Work* w = embedding_work()) MINNOW_TRY(calibrate_ends(*w, ends.sensitivity));
    if (Work* w = embedding_work()) ends.embedding = w->found;
    if (Work* w = head_work()) ends.head = w->found;
    ends.sensitivity = {};
    return checkpoint_.keep(key_, ends);
  }

  Status calibrate_ends(Work& embedding, const EndSensitivity& s) {
    MINNOW_ASSIGN(const ModelEnds ends, read_ends(model_, pool_));
    const bool indifferently = o_.method == Method::rtn;
    embedding.found.sensitivity = indifferently ? indifferent(ends.embedding) : embedding_sensitivity(s);
    MINNOW_TRY(calibrate_linear(embedding, ends.embedding, o_, pool_));
    Work* const head = head_work();
    if (head == nullptr) return {};
    head->found.sensitivity = indifferently ? indifferent(ends.head) : s.head;
    return calibrate_linear(*head, ends.head, o_, pool_);
  }

  /// The embedding as a look-up feels E[g_k^2] of each channel in a row as often as its token comes; tied,
  /// it feels what the head feels as well.
  LinearSensitivity embedding_sensitivity(const EndSensitivity& ends) const {
    LinearSensitivity s;
    const size_t cols = model_.embedding.weight.cols;
    const double vocab = model_.embedding.weight.rows;
    if (tied()) {
      s = ends.head;
    } else {
      s.moments.second.reset(cols, cols);
      s.moments.weight = s.tokens = 1.0;
      for (double share : ends.token_share) s.row_weights.push_back(share * vocab);
    }
    for (size_t c = 0; c < cols; ++c)
      s.moments.second.row(c)[c] += static_cast<float>(ends.embedding_channels[c] * s.tokens / vocab);
    return s;
  }

  /// Takes what an interrupted run found of a block.
  bool take_block(size_t b) {
    auto kept = checkpoint_.block(key_, b);
    if (!kept) return false;
    for (size_t l = first_[b]; l < first_[b + 1]; ++l)
      work_[l].found = std::move(kept->linear[static_cast<size_t>(work_[l].role)]);
    token_weights_[b] = std::move(kept->token_weights);
    return true;
  }

  Status calibrate_block(size_t b, const BlockWeights& w, BlockSensitivity s) {
    if (take_block(b)) return {};
    CalibratedBlock block;
    for (size_t l = first_[b]; l < first_[b + 1]; ++l) {
      Work& work = work_[l];
      const auto role = static_cast<size_t>(work.role);
      work.found = {};
      work.found.sensitivity = std::move(s.linear[role]);
      MINNOW_TRY(calibrate_linear(work, w[work.role], o_, pool_));
      if (propagates()) work.found.sensitivity.moments = {};
      block.linear[role] = work.found;
    }
    if (o_.weighted_tokens) block.token_weights = std::move(s.token_weights);
    MINNOW_TRY(checkpoint_.keep(key_, b, block));
    token_weights_[b] = std::move(block.token_weights);
    return {};
  }

  /// The orders of channels, by salience; round to nearest has the same of all, and so keeps its channels
  /// as they are.
  void find_orders() {
    std::vector<double> hidden(model_.config.hidden_size, 0.0);
    for (size_t b = 0; b < blocks(); ++b) {
      for (size_t l = first_[b]; l < first_[b + 1]; ++l) {
        const std::vector<double>& salience = work_[l].found.salience;
        if (work_[l].role == Role::o) {
          orders_.attn[b] = descending(salience);
        } else if (work_[l].role == Role::down) {
          orders_.ffn[b] = descending(salience);
        } else {
          for (size_t c = 0; c < hidden.size(); ++c) hidden[c] += salience[c];
        }
      }
    }
    gathered_ = descending(hidden);
    orders_.hidden = o_.paper ? natural_order(hidden.size()) : gathered_;
    natural_heads_ = natural_order(model_.config.q_size());
    ends_order_ =
        model_.embedding_in.present() ? natural_order(model_.config.embedding_size) : orders_.hidden;
  }

  uint64_t weight_bytes() const {
    uint64_t sum = 0;
    for (const Work& work : work_) sum += work.candidate().bytes;
    return sum;
  }

  /// Of the file with the chosen schemes, all codes zero.
  Result<uint64_t> measure() const {
    QuantisedSet set;
    for (const Work& work : work_)
      set.entries.emplace(work.source->name,
                          QuantisedSet::Entry{blank_linear(work), work.layout(work.scheme())});
    for (const auto& [name, entry] : projections_) set.entries.emplace(name, entry);
    return measure_(fold(model_, orders_), set);
  }

  /// BPLL as published: in each block the linear whose outputs' means and variances suffer least goes down
  /// to two bits, the others keep three; of three bits split into classes or not, the better stays.
  Status choose_as_published() {
    for (size_t b = 0; b < blocks(); ++b) {
      size_t dropped = first_[b];
      for (size_t l = first_[b]; l < first_[b + 1]; ++l) {
        const std::vector<Candidate>& candidates = work_[l].found.candidates;
        work_[l].chosen =
            candidates[kPaperSplit].loss < candidates[kPaperUniform].loss ? kPaperSplit : kPaperUniform;
        if (work_[l].found.rise < work_[dropped].found.rise) dropped = l;
      }
      work_[dropped].chosen = kPaperDropped;
    }
    return {};
  }

  Result<std::vector<size_t>> deal_out(const std::vector<std::vector<Candidate>>& lists,
                                       uint64_t budget) const {
    if (o_.method != Method::mlwq || o_.budget == Budget::evenly) return allocate_evenly(lists, budget);
    if (o_.budget == Budget::across) return allocate(lists, budget);
    const auto weights = [&](size_t first, size_t last) {
      double sum = 0.0;
      for (size_t l = first; l < last; ++l)
        sum += static_cast<double>(uint64_t{work_[l].outputs()} * work_[l].inputs());
      return sum;
    };
    std::vector<size_t> bounds = first_;  // the last part: what lies outside of the blocks
    bounds.push_back(work_.size());
    std::vector<size_t> chosen;
    for (size_t p = 0; p + 1 < bounds.size(); ++p) {
      const std::vector<std::vector<Candidate>> part(lists.begin() + static_cast<long>(bounds[p]),
                                                     lists.begin() + static_cast<long>(bounds[p + 1]));
      const double share = weights(bounds[p], bounds[p + 1]) / weights(0, work_.size());
      MINNOW_ASSIGN(const std::vector<size_t> own,
                    allocate(part, static_cast<uint64_t>(share * static_cast<double>(budget))));
      chosen.insert(chosen.end(), own.begin(), own.end());
    }
    return chosen;
  }

  Status choose() {
    MINNOW_TRY(quantise_projections());
    if (o_.paper) return choose_as_published();
    const auto ceiling = static_cast<uint64_t>(o_.bits * static_cast<double>(model_.parameters) / 8.0);
    std::vector<std::vector<Candidate>> lists;
    for (const Work& work : work_) lists.push_back(work.found.candidates);
    // What the file adds to the weights is measured, not guessed; it depends a little on the choice.
    uint64_t fixed = 0;
    for (int attempt = 0; attempt < 8; ++attempt) {
      const uint64_t budget = ceiling > fixed ? ceiling - fixed : 0;
      auto chosen = deal_out(lists, budget);
      if (!chosen.ok()) {
        return std::move(chosen).status().within(cat("a file of ", o_.bits, " bits a parameter (", ceiling,
                                                     " bytes, ", fixed, " of them not weights)"));
      }
      for (size_t l = 0; l < work_.size(); ++l) work_[l].chosen = (*chosen)[l];
      MINNOW_ASSIGN(const uint64_t size, measure());
      if (attempt > 0 && size <= ceiling) {
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

  /// The small projections beside the embedding of some models: 8 bits, to nearest.
  Status quantise_projections() {
    const auto one = [&](const ImportedLinear& source, const Order& in, const Order* rows) -> Status {
      if (!source.present()) return {};
      MINNOW_ASSIGN(Matrix w, read_matrix(source.weight, pool_));
      Work work;
      work.source = &source, work.stored = &in, work.rows = rows;
      work.found.salience.assign(w.cols(), 1.0);
      work.found.candidates.push_back({{{{8, 64, static_cast<uint32_t>(w.cols())}}}, 0, 0.0});
      MlwqOptions nearest = o_;
      nearest.method = Method::rtn;
      MINNOW_ASSIGN(QuantisedLinear l, quantise_work(work, {}, w, nearest, pool_));
      projections_.emplace(source.name, QuantisedSet::Entry{std::move(l), format::Layout::panel});
      (&source == &model_.embedding_in ? in_ : out_projection_) = std::move(w);
      return {};
    };
    const Order natural = natural_order(model_.config.embedding_size);
    MINNOW_TRY(one(model_.embedding_in, natural, &orders_.hidden));
    return one(model_.embedding_out, orders_.hidden, nullptr);
  }

  size_t index_of(const Work& work) const { return static_cast<size_t>(&work - work_.data()); }

  /// Was this linear finished by an interrupted run? Then `w` becomes what its codes stand for.
  bool resume_one(const Work& work, Matrix& w) {
    auto kept = checkpoint_.linear(choice_key_, index_of(work));
    if (!kept || kept->name != work.source->name) return false;
    w = restore(*kept, work.input_order(), work.output_order());
    keep(work, std::move(*kept));
    return true;
  }

  Status quantise_one(const Work& work, SeenInputs inputs, Matrix& w) {
    MINNOW_ASSIGN(QuantisedLinear stored, quantise_work(work, std::move(inputs), w, o_, pool_));
    MINNOW_TRY(checkpoint_.keep(choice_key_, index_of(work), stored));
    keep(work, std::move(stored));
    return {};
  }

  void keep(const Work& work, QuantisedLinear linear) {
    out_.linears.entries.emplace(work.source->name,
                                 QuantisedSet::Entry{std::move(linear), work.layout(work.scheme())});
  }

  /// Quantises the linears of a block, step by step; `w` then holds what their codes stand for.
  Status quantise_block(size_t b, BlockWeights& w, const BlockWeights& floats, Propagation* propagation) {
    const TokenWeights* weights = o_.weighted_tokens ? &token_weights_[b] : nullptr;
    for (const Step step : kSteps) {
      std::vector<Work*> missing;
      std::vector<Role> roles;
      for (size_t l = first_[b]; l < first_[b + 1]; ++l) {
        Work& work = work_[l];
        if (step_of(work.role) != step || resume_one(work, w[work.role])) continue;
        missing.push_back(&work);
        roles.push_back(work.role);
      }
      Propagation::Seen seen;
      if (propagation != nullptr) {
        MINNOW_ASSIGN(seen, propagation->gather(step, w, floats, roles, weights));
      }
      for (Work* work : missing) {
        const auto role = static_cast<size_t>(work->role);
        if (propagation == nullptr) seen.followed[role] = std::move(work->found.sensitivity.moments);
        const bool last = work == missing.back();
        MINNOW_TRY(quantise_one(*work,
                                {std::move(seen.followed[role]), last ? std::move(seen.others) : seen.others,
                                 std::move(seen.drift[role])},
                                w[work->role]));
      }
    }
    return {};
  }

  Status quantise() {
    choice_key_ = key_;
    for (const Work& work : work_) {
      const std::string text = work.scheme().text();
      choice_key_ = add_to_key(choice_key_, text.data(), text.size());
    }
    choice_key_ = add_to_key(choice_key_, &o_.descents, sizeof o_.descents);
    choice_key_ = add_to_key(choice_key_, &o_.make_up, sizeof o_.make_up);
    out_.model = fold(model_, orders_);
    for (const auto& [name, entry] : projections_) out_.linears.entries.emplace(name, entry);
    MINNOW_TRY(quantise_blocks());
    Work* const head = head_work();
    if (head == nullptr) return {};
    MINNOW_ASSIGN(Matrix w, read_matrix(model_.head.weight, pool_));
    if (resume_one(*head, w)) return {};
    return quantise_one(*head, {std::move(head->found.sensitivity.moments), {}, {}}, w);
  }

  Status quantise_blocks() {
    std::optional<Propagation> propagation;
    {
      ModelEnds ends;
      MINNOW_ASSIGN(ends.embedding, read_matrix(model_.embedding.weight, pool_));
      Work* const work = embedding_work();
      const bool drifts = propagates() && o_.make_up != 0.0;
      const Matrix floats = drifts ? ends.embedding : Matrix();
      if (work != nullptr && !resume_one(*work, ends.embedding))
        MINNOW_TRY(quantise_one(*work, {std::move(work->found.sensitivity.moments), {}, {}}, ends.embedding));
      ends.in = in_;
      if (propagates()) {
        MINNOW_ASSIGN(Propagation start, Propagation::start(net_, ends, drifts ? &floats : nullptr,
                                                            sequences_, followed_, pool_, spill_));
        propagation.emplace(std::move(start));
      }
    }
    Propagation* const p = propagation ? &*propagation : nullptr;
    for (size_t b = 0; b < blocks(); ++b) {
      MINNOW_ASSIGN(BlockWeights w, read_block(model_.layers[b], pool_));
      const BlockWeights floats = p != nullptr && p->drifts() ? w : BlockWeights();
      MINNOW_TRY(quantise_block(b, w, floats, p));
      if (p != nullptr && b + 1 < blocks()) MINNOW_TRY(p->leave(w, floats));
      MINNOW_TRY(tick("quantise", b + 1, blocks()));
    }
    return {};
  }

  /// What the codes of a linear stand for; `w` as it is where the linear keeps its floats.
  void replace(const Work& work, Matrix& w) const {
    const QuantisedSet::Entry* entry = out_.linears.find(work.source->name);
    if (entry != nullptr) w = restore(entry->linear, work.input_order(), work.output_order());
  }

  Status hold_out() {
    for (const Work& work : work_) {
      const Candidate& c = work.candidate();
      out_.summary.push_back(
          {work.source->name, c.scheme.text(), c.bytes, uint64_t{work.outputs()} * work.inputs(), c.loss});
    }
    if (o_.held_out.empty()) return {};
    MINNOW_ASSIGN(const Sequences held, sequences_from_text(model_, o_.held_out, length_, UINT32_MAX));
    const auto read = [&](size_t b) { return read_block(model_.layers[b], pool_); };
    MINNOW_ASSIGN(const ModelEnds floats, read_ends(model_, pool_));
    ModelEnds ends = floats;
    if (const Work* w = embedding_work()) replace(*w, ends.embedding);
    if (const Work* w = head_work()) replace(*w, ends.head);
    if (!in_.empty()) ends.in = in_;
    if (!out_projection_.empty()) ends.out = out_projection_;
    const auto quantised = [&](size_t b) -> Result<BlockWeights> {
      MINNOW_ASSIGN(BlockWeights w, read(b));
      for (size_t l = first_[b]; l < first_[b + 1]; ++l) replace(work_[l], w[work_[l].role]);
      return w;
    };
    MINNOW_ASSIGN(out_.after, evaluate(net_, {&ends, blocks(), quantised}, {&floats, blocks(), read}, held,
                                       length_ / 2 + 1, pool_, spill_, o_.progress));
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
  size_t followed_ = 0;
  uint64_t key_ = 0, choice_key_ = 0;
  Checkpoint checkpoint_;
  Spill spill_;
  Orders orders_;
  Order natural_heads_, ends_order_, gathered_;
  std::vector<Work> work_;                   // blocks in order, then embedding, then head
  std::vector<size_t> first_;                // of each block in work_, and behind the last
  std::vector<TokenWeights> token_weights_;  // of each block
  std::map<std::string, QuantisedSet::Entry> projections_;
  Matrix in_, out_projection_;  // what they stand for
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
    options.make_up = 0.0;
    options.space.split = false;
  }
  if (options.paper) options.method = Method::mlwq;
  MINNOW_ASSIGN(const std::unique_ptr<ThreadPool> pool, ThreadPool::create(options.threads));
  return Pipeline(model, options, measure, *pool).run();
}

}  // namespace minnow::compress
