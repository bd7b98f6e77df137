// minnow eval: loss on a text, needles in long prompts, multiple choice. Scoring is described in
// docs/testing.md, so that figures compare across engines.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>

#include "common.h"
#include "compress/compress.h"

namespace cli {
namespace {

struct Options {
  RunOptions run;
  std::string text, needles, choices, reference;
  uint32_t window = 2048, skip = 1, limit = 0;
  bool json = false;
};

/// log sum exp of a row, and its largest entry.
struct RowSums {
  double log_sum = 0.0;
  size_t best = 0;
};

RowSums sums_of(const float* logits, size_t n) {
  const auto best = static_cast<size_t>(std::max_element(logits, logits + n) - logits);
  double sum = 0.0;
  for (size_t i = 0; i < n; ++i) sum += std::exp(logits[i] - logits[best]);
  return {logits[best] + std::log(sum), best};
}

/// A model with a session for windows of text.
struct Scored {
  Engine engine;
  Model model;
  Session session;
};

/// The reference may be a float model's directory: it becomes a temporary file.
class Reference {
 public:
  Reference(const Options& o, uint32_t context) {
    std::string path = o.reference;
    if (std::filesystem::is_directory(path)) {
      auto imported = minnow::compress::import_model(path);
      if (!imported.ok()) throw Failure{imported.status().message()};
      minnow::compress::CompressOptions c;
      c.storage = c.head_storage = minnow::compress::Storage::f32;
      temporary_ =
          (std::filesystem::temp_directory_path() / ("minnow-reference-" + std::to_string(getpid()) + ".mnw"))
              .string();
      auto report = minnow::compress::compress_model(*imported, c, temporary_);
      if (!report.ok()) throw Failure{report.status().message()};
      path = temporary_;
    }
    RunOptions run = o.run;
    run.model = path;
    scored.engine = run.engine();
    scored.model = run.load(scored.engine);
    run.context = 0;
    run.sparsity = run.retrieval = "off";
    scored.session = run.session(scored.model, context);
  }
  ~Reference() {
    if (!temporary_.empty()) std::filesystem::remove(temporary_);
  }
  Scored scored;

 private:
  std::string temporary_;
};

struct Totals {
  uint64_t tokens = 0, bytes = 0, same_top = 0;
  double nll = 0.0, kld = 0.0;
};

/// One stretch of a window that is scored: logits rows arrive in order, for both models.
class Scorer {
 public:
  Scorer(size_t vocab, const std::vector<int32_t>& targets, Totals& totals)
      : vocab_(vocab), targets_(targets), totals_(totals) {}

  void keep_reference(const float* logits) { kept_.insert(kept_.end(), logits, logits + vocab_); }
  void clear_reference(size_t first) {
    kept_.clear();
    kept_first_ = first;
  }

  /// `index`: which target this row predicts.
  void row(size_t index, const float* logits) {
    if (index >= targets_.size()) return;
    const RowSums mine = sums_of(logits, vocab_);
    totals_.nll += mine.log_sum - logits[targets_[index]];
    ++totals_.tokens;
    if (kept_.empty()) return;
    const float* other = kept_.data() + (index - kept_first_) * vocab_;
    const RowSums theirs = sums_of(other, vocab_);
    double kld = 0.0;
    for (size_t i = 0; i < vocab_; ++i) {
      const double log_p = other[i] - theirs.log_sum;
      kld += std::exp(log_p) * (log_p - (logits[i] - mine.log_sum));
    }
    totals_.kld += kld;
    totals_.same_top += mine.best == theirs.best;
  }

 private:
  size_t vocab_;
  const std::vector<int32_t>& targets_;
  Totals& totals_;
  std::vector<float> kept_;
  size_t kept_first_ = 0;
};

const float* logits_of(const Session& session) {
  const float* logits = nullptr;
  size_t count = 0;
  check(minnow_logits(session.get(), &logits, &count));
  return logits;
}

/// With retrieval every scored token is a decode step, since only those select.
void score_steps(const Scored& m, const int32_t* tokens, size_t first, size_t count, Scorer& scorer) {
  for (size_t i = 0; i < count; ++i) {
    check(minnow_decode(m.session.get(), tokens[i]));
    scorer.row(first + i, logits_of(m.session));
  }
}

/// Scores tokens [skip, end) of one window. A row predicts the token after it, so the rows from
/// skip - 1 on are wanted; what comes before is prefilled without logits.
void score_window(const Scored& m, const Scored* reference, const std::vector<int32_t>& window, uint32_t skip,
                  size_t vocab, bool steps, Totals& totals) {
  const std::vector<int32_t> targets(window.begin() + skip, window.end());
  Scorer scorer(vocab, targets, totals);
  for (const Scored* s : {&m, reference}) {
    if (s == nullptr) continue;
    check(minnow_session_rewind(s->session.get(), 0));
    if (skip > 1) check(minnow_prefill(s->session.get(), window.data(), skip - 1, nullptr, nullptr));
  }
  // With a reference the two models take turns, so that only one piece of its logits is kept.
  const size_t piece = reference != nullptr ? 64 : 256;
  struct Context {
    Scorer* scorer;
    size_t first;
  };
  for (size_t first = 0; first < targets.size(); first += piece) {
    const size_t count = std::min(piece, targets.size() - first);
    const int32_t* tokens = window.data() + skip - 1 + first;
    Context context{&scorer, first};
    if (reference != nullptr) {
      scorer.clear_reference(first);
      check(minnow_prefill_logits(
          reference->session.get(), tokens, count,
          [](void* c, size_t, const float* logits, size_t) {
            static_cast<Context*>(c)->scorer->keep_reference(logits);
            return 0;
          },
          &context));
    }
    if (steps) {
      score_steps(m, tokens, first, count, scorer);
      continue;
    }
    check(minnow_prefill_logits(
        m.session.get(), tokens, count,
        [](void* c, size_t index, const float* logits, size_t) {
          auto* ctx = static_cast<Context*>(c);
          ctx->scorer->row(ctx->first + index, logits);
          return 0;
        },
        &context));
  }
  totals.bytes += m.model != nullptr ? detokenize(m.model, targets).size() : 0;
}

void print(const Options& o, const nlohmann::json& result) {
  if (o.json) {
    std::printf("%s\n", result.dump().c_str());
    return;
  }
  for (const auto& [key, value] : result.items())
    std::printf("%-18s %s\n", key.c_str(), value.dump().c_str());
}

Scored open(const Options& o, uint32_t context) {
  Scored s;
  RunOptions run = o.run;
  run.mask_prompts = true;  // every token of a window: the harsher setting, in which losses are comparable
  s.engine = run.engine();
  s.model = run.load(s.engine);
  s.session = run.session(s.model, context);
  return s;
}

void eval_text(const Options& o) {
  if (o.skip < 1 || o.skip >= o.window) throw Misuse{{"--skip must be at least 1 and below --ctx"}};
  Scored m = open(o, o.window);
  const size_t vocab = info_of(m.model).vocab_size;
  std::optional<Reference> reference;
  if (!o.reference.empty()) {
    reference.emplace(o, o.window);
    if (info_of(reference->scored.model).vocab_size != vocab)
      throw Failure{"the reference has another vocabulary than the model"};
  }
  const std::vector<int32_t> all = tokenize(m.model, read_file(o.text), true, false);
  std::vector<std::vector<int32_t>> windows;
  if (all.size() < o.window) {
    windows.push_back(all);
  } else {
    for (size_t i = 0; i + o.window <= all.size(); i += o.window)
      windows.emplace_back(all.begin() + i, all.begin() + i + o.window);
  }
  if (o.limit != 0 && windows.size() > o.limit) windows.resize(o.limit);
  if (windows.front().size() <= o.skip)
    throw Failure{"the text has only " + std::to_string(all.size()) + " tokens, --skip takes them all"};
  Totals totals;
  std::vector<double> per_window;
  ProgressBar bar("eval");
  for (const auto& window : windows) {
    const Totals before = totals;
    score_window(m, reference ? &reference->scored : nullptr, window, o.skip, vocab, o.run.retrieval == "on",
                 totals);
    per_window.push_back((totals.nll - before.nll) / static_cast<double>(totals.tokens - before.tokens));
    bar.update(static_cast<double>(per_window.size()) / static_cast<double>(windows.size()));
  }
  const auto n = static_cast<double>(totals.tokens);
  nlohmann::json result = {{"tokens", totals.tokens},
                           {"windows", windows.size()},
                           {"nll", totals.nll / n},
                           {"ppl", std::exp(totals.nll / n)},
                           {"bits_per_byte", totals.nll / std::log(2.0) /
                                                 static_cast<double>(std::max<uint64_t>(totals.bytes, 1))},
                           {"ctx", o.window},
                           {"skip", o.skip},
                           {"nll_per_window", per_window}};
  minnow_session_stats stats{};
  stats.struct_size = sizeof stats;
  check(minnow_session_get_stats(m.session.get(), &stats));
  if (stats.tokens_masked != 0) {
    result["realised_sparsity"] = stats.realised_sparsity;
    result["activated_fraction"] = stats.activated_fraction;
  }
  if (stats.tokens_retrieved != 0) result["union_fraction"] = stats.attended_fraction;
  if (o.run.retrieval_measure) result["attended_weight"] = stats.attended_weight;
  if (reference) {
    result["kld"] = totals.kld / n;
    result["top1_agreement"] = static_cast<double>(totals.same_top) / n;
  }
  print(o, result);
}

std::vector<nlohmann::json> read_lines(const std::string& path) {
  std::ifstream in(path);
  if (!in) throw Failure{"cannot read '" + path + "'"};
  std::vector<nlohmann::json> lines;
  std::string line;
  while (std::getline(in, line)) {
    if (line.empty()) continue;
    lines.push_back(nlohmann::json::parse(line, nullptr, false));
    if (!lines.back().is_object())
      throw Failure{"'" + path + "', line " + std::to_string(lines.size()) + " is not a JSON object"};
  }
  if (lines.empty()) throw Failure{"'" + path + "' has no lines"};
  return lines;
}

std::string text_of(const nlohmann::json& line, const char* key, const std::string& path) {
  if (!line.contains(key) || !line[key].is_string())
    throw Failure{"'" + path + "': a line lacks the text '" + key + "'"};
  return line[key].get<std::string>();
}

void eval_needles(const Options& o) {
  const auto lines = read_lines(o.needles);
  const size_t count = o.limit != 0 ? std::min<size_t>(o.limit, lines.size()) : lines.size();
  Scored m = open(o, info_of(open(o, 64).model).max_context);
  uint64_t right = 0;
  ProgressBar bar("needles");
  for (size_t i = 0; i < count; ++i) {
    const std::string prompt = text_of(lines[i], "prompt", o.needles),
                      answer = text_of(lines[i], "answer", o.needles);
    std::vector<int32_t> ids = tokenize(m.model, prompt, true, false);
    if (o.run.retrieval == "on") {
      // The question's line and the answer are decode steps, since only those select.
      const std::vector<int32_t> before =
          tokenize(m.model, prompt.substr(0, prompt.rfind('\n') + 1), true, false);
      const auto same = static_cast<size_t>(
          std::mismatch(before.begin(), before.end(), ids.begin(), ids.end()).first - before.begin());
      check(minnow_session_rewind(m.session.get(), 0));
      if (same > 0) check(minnow_prefill(m.session.get(), ids.data(), same, nullptr, nullptr));
      for (size_t t = same; t < ids.size(); ++t) check(minnow_decode(m.session.get(), ids[t]));
    }
    minnow_generate_params p = minnow_generate_params_default();
    p.temperature = 0.0f;
    p.max_tokens = static_cast<uint32_t>(answer.size()) + 4;  // a token is at least one byte
    std::string text;
    check(minnow_generate_tokens(
        m.session.get(), ids.data(), ids.size(), &p,
        [](void* user, const char* piece, size_t length, int32_t) {
          static_cast<std::string*>(user)->append(piece, length);
          return 0;
        },
        &text, nullptr));
    right += text.starts_with(answer);
    bar.update(static_cast<double>(i + 1) / static_cast<double>(count));
  }
  nlohmann::json result = {{"accuracy", static_cast<double>(right) / static_cast<double>(count)},
                           {"questions", count}};
  minnow_session_stats stats{};
  stats.struct_size = sizeof stats;
  check(minnow_session_get_stats(m.session.get(), &stats));
  if (stats.tokens_retrieved != 0) result["union_fraction"] = stats.attended_fraction;
  if (o.run.retrieval_measure) result["attended_weight"] = stats.attended_weight;
  print(o, result);
}

void eval_choices(const Options& o) {
  const auto lines = read_lines(o.choices);
  const size_t count = o.limit != 0 ? std::min<size_t>(o.limit, lines.size()) : lines.size();
  Scored m = open(o, 0);
  uint64_t right = 0, right_norm = 0;
  ProgressBar bar("choices");
  for (size_t i = 0; i < count; ++i) {
    std::string query = text_of(lines[i], "query", o.choices);
    while (!query.empty() && query.back() == ' ') query.pop_back();  // the choice brings its space
    const auto& choices = lines[i].value("choices", nlohmann::json::array());
    const auto gold = lines[i].value("gold", -1);
    if (!choices.is_array() || gold < 0 || gold >= static_cast<int>(choices.size())) {
      throw Failure{"'" + o.choices + "', line " + std::to_string(i + 1) +
                    ": 'gold' is not the number of a choice"};
    }
    const std::vector<int32_t> head = tokenize(m.model, query, true, false);
    int best = -1, best_norm = -1;
    double best_sum = 0.0, best_mean = 0.0;
    for (int k = 0; k < static_cast<int>(choices.size()); ++k) {
      const std::string choice = " " + choices[static_cast<size_t>(k)].get<std::string>();
      const std::vector<int32_t> full = tokenize(m.model, query + choice, true, false);
      // Tokens may join across the seam: what differs from the query's own tokens is the choice.
      const auto same = static_cast<size_t>(
          std::mismatch(head.begin(), head.end(), full.begin(), full.end()).first - head.begin());
      const size_t from = std::max<size_t>(1, std::min(same, full.size() - 1));
      check(minnow_session_rewind(m.session.get(), 0));
      std::vector<float> scores(full.size());
      check(minnow_score(m.session.get(), full.data(), full.size(), scores.data()));
      double sum = 0.0;
      for (size_t t = from; t < full.size(); ++t) sum += scores[t];
      const double mean = sum / static_cast<double>(choice.size());
      if (best < 0 || sum > best_sum) best = k, best_sum = sum;
      if (best_norm < 0 || mean > best_mean) best_norm = k, best_mean = mean;
    }
    right += best == gold;
    right_norm += best_norm == gold;
    bar.update(static_cast<double>(i + 1) / static_cast<double>(count));
  }
  const auto n = static_cast<double>(count);
  print(o, {{"accuracy", static_cast<double>(right) / n},
            {"accuracy_norm", static_cast<double>(right_norm) / n},
            {"questions", count}});
}

void eval(const Options& o) {
  const int tasks = !o.text.empty() + !o.needles.empty() + !o.choices.empty();
  if (tasks != 1) throw CLI::ValidationError("give one of --text, --needles and --choices");
  if (!o.text.empty()) return eval_text(o);
  if (!o.needles.empty()) return eval_needles(o);
  eval_choices(o);
}

}  // namespace

void add_eval(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("eval", "measure a model's quality");
  o->run.add_to(*sub);
  sub->remove_option(sub->get_option("--ctx"));
  sub->add_option("--text", o->text, "loss on this text");
  sub->add_option("--needles", o->needles, "JSON lines of {prompt, answer}");
  sub->add_option("--choices", o->choices, "JSON lines of {query, choices, gold}");
  sub->add_option("-c,--ctx", o->window, "tokens of a window")->check(CLI::Range(2, 1 << 20));
  sub->add_option("--skip", o->skip, "first tokens of a window that are context only");
  sub->add_option("--reference", o->reference, "compare with this .mnw file or Hugging Face directory");
  sub->add_option("--limit", o->limit, "windows or questions at most; 0: all");
  sub->add_flag("--json", o->json, "one JSON object on stdout");
  sub->callback([o] { eval(*o); });
}

}  // namespace cli
