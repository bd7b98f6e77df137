// minnow compress: a Hugging Face directory or a GGUF file to one .mnw file.
#include "compress/compress.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "common.h"
#include "compress/budget.h"
#include "compress/chess/chess.h"
#include "compress/report.h"

namespace cli {
namespace {

using minnow::compress::CompressOptions;
using minnow::compress::Storage;

volatile std::sig_atomic_t interrupted = 0;

struct Options {
  std::string input, output, storage16 = "source", chat_format, method, report, sparsity_method = "best",
                             channel_weight = "mean";
  double sparsity = -1.0;                           // none
  std::vector<double> sparsity_least = {0.0, 0.0};  // rows, inputs
  std::vector<std::string> calibration, held_out, without;
  uint32_t width = 0, head_width = 0, group = 64, threads = 0, sequences = 128, gradients = 0, length = 2048,
           memory = 1024;
  uint64_t seed = 1;
  double bits = 0.0;
  bool json = false, retrieval = false, no_retrieval = false, paper = false;
  std::string codebook_metric = "queries";
  uint32_t centroids = 1024;
  /// A budget for the whole file, which the compressor spends; else one storage for all linears.
  bool budget() const { return paper || (bits != 0.0 && bits != 16.0 && bits != 32.0); }
};

Storage float_storage(const Options& o, double bits) {
  if (bits == 32.0) return Storage::f32;
  return o.storage16 == "f16" ? Storage::f16 : o.storage16 == "bf16" ? Storage::bf16 : Storage::source16;
}

Storage code_storage(uint32_t width, const char* option, const char* known) {
  switch (width) {
    case 2:
      return Storage::w2;
    case 3:
      return Storage::w3;
    case 4:
      return Storage::w4;
    case 8:
      return Storage::w8;
    default:
      throw Misuse{{std::string(option) + " " + std::to_string(width) + ": a width is " + known}};
  }
}

CompressOptions settings(const Options& o) {
  CompressOptions c;
  c.group = o.group;
  c.threads = o.threads;
  c.chat_format = o.chat_format;
  if (!o.budget() && !o.method.empty() && o.method != "rtn") {
    throw Misuse{{"--method " + o.method + " spends a budget: give --bits B, say --bits 3.5"}};
  }
  if (!o.budget() && !o.without.empty()) {
    throw Misuse{{"--without " + o.without.front() + " is a part of how a budget is spent: give --bits B"}};
  }
  if (o.bits == 16.0 || o.bits == 32.0) {
    c.storage = c.head_storage = float_storage(o, o.bits);
  } else {
    c.storage = c.head_storage = code_storage(o.width != 0 ? o.width : 8, "--width", "2, 3, 4 or 8");
  }
  if (o.head_width != 0) {
    c.head_storage = o.head_width == 16 ? float_storage(o, 16.0)
                                        : code_storage(o.head_width, "--head-width", "2, 3, 4, 8 or 16");
  }
  return c;
}

/// Parts of the method that can be left out, to measure what each of them brings.
struct Part {
  const char* name;
  void (*leave_out)(minnow::compress::MlwqOptions&);
};
using Mlwq = minnow::compress::MlwqOptions;
constexpr Part kParts[] = {
    {"tqp", [](Mlwq& m) { m.clip = minnow::compress::ClipSearch::none; }},
    {"weighted-clip", [](Mlwq& m) { m.clip = minnow::compress::ClipSearch::plain; }},
    {"mqsa", [](Mlwq& m) { m.space.split = false; }},
    {"bpll", [](Mlwq& m) { m.budget = minnow::compress::Budget::evenly; }},
    {"blocks", [](Mlwq& m) { m.budget = minnow::compress::Budget::blocks; }},
    {"compensation", [](Mlwq& m) { m.compensate = false; }},
    {"descent", [](Mlwq& m) { m.descents = 0; }},
    {"gradients", [](Mlwq& m) { m.weighted_tokens = false; }},
    {"propagation", [](Mlwq& m) { m.propagate = false; }},
    {"drift", [](Mlwq& m) { m.make_up = 0.0; }},
};

minnow::compress::MlwqOptions budget_settings(const Options& o) {
  if (o.bits != 0.0 && (o.bits < 1.0 || o.bits > 32.0)) {
    throw Misuse{{"--bits " + std::to_string(o.bits) +
                  ": a budget lies between 2 and 8 bits a parameter; 16 and 32 "
                  "store floats"}};
  }
  using minnow::compress::Method;
  minnow::compress::MlwqOptions m;
  m.method = o.method == "rtn" ? Method::rtn : o.method == "gptq" ? Method::gptq : Method::mlwq;
  m.bits = o.bits;
  m.paper = o.paper;
  m.calibration = o.calibration;
  m.held_out = o.held_out;
  m.sequences = o.sequences;
  m.gradients = o.gradients;
  m.length = o.length;
  m.seed = o.seed;
  m.threads = o.threads;
  m.memory = uint64_t{o.memory} << 20;
  for (const std::string& part : o.without) {
    for (const Part& p : kParts) {
      if (part == p.name) p.leave_out(m);
    }
  }
  return m;
}

minnow::compress::SparsityOptions sparsity_settings(const Options& o,
                                                    minnow::compress::StageProgress progress) {
  using minnow::compress::SparsityMethod;
  minnow::compress::SparsityOptions s;
  s.share = o.sparsity;
  for (const auto m : {SparsityMethod::best, SparsityMethod::chess, SparsityMethod::cats,
                       SparsityMethod::wina, SparsityMethod::teal, SparsityMethod::oracle}) {
    if (o.sparsity_method == name_of(m)) s.method = m;
  }
  s.least = {o.sparsity_least[0], o.sparsity_least[1]};
  s.rms = o.channel_weight == "rms";
  s.calibration = o.calibration;
  s.length = o.length;
  s.tokens = static_cast<uint32_t>(std::min<uint64_t>(s.tokens, uint64_t{o.sequences} * o.length));
  s.seed = o.seed;
  s.threads = o.threads;
  s.progress = std::move(progress);
  return s;
}

minnow::compress::CodebookOptions codebook_settings(const Options& o,
                                                    minnow::compress::StageProgress progress) {
  minnow::compress::CodebookOptions c;
  c.centroids = o.centroids;
  c.euclidean = o.codebook_metric == "euclidean";
  c.calibration = o.calibration;
  c.tokens = static_cast<uint32_t>(std::min<uint64_t>(c.tokens, uint64_t{o.sequences} * o.length));
  c.identifiers = std::min(c.identifiers, c.tokens);
  c.memory = uint64_t{o.memory} << 20;
  c.seed = o.seed;
  c.threads = o.threads;
  c.progress = std::move(progress);
  return c;
}

/// A bar a stage; false once the user has interrupted.
minnow::compress::StageProgress stage_bars() {
  struct State {
    std::unique_ptr<ProgressBar> bar;
    std::string at;
  };
  return [state = std::make_shared<State>()](const char* stage, uint64_t done, uint64_t total) {
    if (state->at != stage)
      state->bar = nullptr, state->bar = std::make_unique<ProgressBar>(state->at = stage);
    state->bar->update(static_cast<double>(done) / static_cast<double>(total));
    return interrupted == 0;
  };
}

bool is_mnw(const std::string& path) {
  char magic[4] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof magic);
  return std::memcmp(magic, "\x89MNW", sizeof magic) == 0;
}

void print(const Options& o, const minnow::compress::BudgetReport& r,
           const std::vector<std::string>& warnings) {
  nlohmann::json j = {{"output", o.output},
                      {"file_bytes", r.file.file_bytes},
                      {"parameters", r.file.parameters},
                      {"bits_per_parameter", r.file.bits_per_parameter()},
                      {"warnings", warnings}};
  if (r.sequences != 0) j["calibration_sequences"] = r.sequences;
  if (r.held_out.tokens != 0) {
    j["held_out"] = {{"tokens", r.held_out.tokens},
                     {"nll_before", r.held_out.reference_nll},
                     {"nll_after", r.held_out.nll},
                     {"kld", r.held_out.kld}};
  }
  for (const auto& l : r.linears) {
    j["linears"].push_back({{"name", l.name},
                            {"slabs", l.slabs},
                            {"bytes", l.bytes},
                            {"weights", l.weights},
                            {"predicted_loss", l.predicted_loss}});
  }
  for (const auto& [stage, seconds] : r.seconds) j["seconds"][stage] = seconds;
  if (o.json) {
    std::printf("%s\n", j.dump().c_str());
    return;
  }
  std::fprintf(stderr, "%s: %.2f MB, %.4f bits for each of %.1f M parameters\n", o.output.c_str(),
               static_cast<double>(r.file.file_bytes) / 1e6, r.file.bits_per_parameter(),
               static_cast<double>(r.file.parameters) / 1e6);
  if (r.held_out.tokens != 0) {
    std::fprintf(stderr, "held-out text: %.4f nats per token before, %.4f after, KL divergence %.4f\n",
                 r.held_out.reference_nll, r.held_out.nll, r.held_out.kld);
  }
}

void run_compress(const Options& o) {
  CompressOptions c = settings(o);
  minnow::compress::MlwqOptions m;
  if (o.budget()) m = budget_settings(o);
  const bool sparse = o.sparsity >= 0.0;
  const minnow::compress::SparsityOptions s = sparsity_settings(o, stage_bars());
  const minnow::compress::CodebookOptions books = codebook_settings(o, stage_bars());
  minnow::compress::Additions additions{sparse ? &s : nullptr, o.retrieval ? &books : nullptr};
  minnow::compress::BudgetReport whole;
  if (!std::filesystem::is_directory(o.input) && is_mnw(o.input)) {
    if (additions.none() || o.budget() || o.width != 0 || o.bits != 0.0) {
      throw Misuse{{"'" + o.input +
                    "' is compressed already: only its thresholds can be remade, with --sparsity K, and its "
                    "codebooks, with --retrieval"}};
    }
    std::signal(SIGINT, [](int) { interrupted = 1; });
    std::signal(SIGTERM, [](int) { interrupted = 1; });
    auto report = minnow::compress::add_to_file(o.input, additions, o.output);
    if (!report.ok()) throw Failure{report.status().message()};
    whole.file = *report;
    print(o, whole, {});
    return;
  }
  auto imported = minnow::compress::import_model(o.input);
  if (!imported.ok()) throw Failure{imported.status().message()};
  for (const std::string& w : imported->warnings) std::fprintf(stderr, "warning: %s\n", w.c_str());
  std::signal(SIGINT, [](int) { interrupted = 1; });  // ends cleanly: no half-written file stays behind
  std::signal(SIGTERM, [](int) { interrupted = 1; });
  if (o.budget()) {
    m.progress = stage_bars();
    const auto bytes = static_cast<uint64_t>(o.bits * static_cast<double>(imported->parameters) / 8.0);
    if (!o.no_retrieval && !o.paper && minnow::compress::codebooks_by_default(*imported, books, bytes))
      additions.codebooks = &books;
    auto report = minnow::compress::compress_to_budget(*imported, m, c, additions, o.output);
    m.progress = nullptr;
    if (!report.ok()) throw Failure{report.status().message()};
    if (!o.report.empty()) {
      const auto written = minnow::compress::write_report(*report, o.output, o.report);
      if (!written.ok()) throw Failure{written.message()};
    }
    print(o, *report, imported->warnings);
    return;
  }
  ProgressBar bar("compress");
  c.progress = [&](const char*, uint64_t done, uint64_t total) {
    bar.update(static_cast<double>(done) / static_cast<double>(total));
    return interrupted == 0;
  };
  const auto write = [&](const std::string& path) {
    return minnow::compress::compress_model(*imported, c, path);
  };
  auto report = minnow::compress::through_plain_file(o.output, additions, write);
  if (!report.ok()) throw Failure{report.status().message()};
  whole.file = *report;
  print(o, whole, imported->warnings);
}

}  // namespace

void add_compress(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* sub =
      app.add_subcommand("compress", "make a .mnw file from a Hugging Face directory or a GGUF file");
  sub->add_option("input", o->input,
                  "Hugging Face directory or GGUF file; a .mnw file to remake its thresholds")
      ->required();
  sub->add_option("-o,--output", o->output, "the .mnw file to write")->required();
  auto* width = sub->add_option("--width", o->width, "bits of every weight's code: 2, 3, 4 or 8 (default)");
  sub->add_option("--bits", o->bits,
                  "bits of the whole file per parameter, at most (2.3 to 8); 16 or 32: store floats")
      ->excludes(width);
  sub->add_option("--float-type", o->storage16, "16-bit floats: source keeps bf16 where the source has it")
      ->check(CLI::IsMember({"source", "f16", "bf16"}));
  sub->add_option("--head-width", o->head_width,
                  "the same for the embedding and the output head; 16: floats");
  sub->add_option("--group", o->group, "channels that share a scale")->check(CLI::IsMember({32, 64, 128}));
  sub->add_option("--method", o->method, "how a budget is spent (default mlwq)")
      ->check(CLI::IsMember({"mlwq", "gptq", "rtn"}));
  sub->add_flag("--paper", o->paper,
                "MLWQ as published: widths 2 and 3, three classes, embedding and head at 16 bits")
      ->excludes(width);
  sub->add_option("--calibration", o->calibration,
                  "text files; without any, minnow samples from the model itself");
  sub->add_option(
         "--sparsity", o->sparsity,
         "thresholds for leaving out weights in each token, this share of those of q, o, up and down")
      ->check(CLI::Range(0.0, 0.95));
  sub->add_option("--sparsity-method", o->sparsity_method, "how thresholds are found (default best)")
      ->check(CLI::IsMember({"best", "chess", "cats", "wina", "teal", "oracle"}));
  sub->add_option("--sparsity-least", o->sparsity_least,
                  "best and teal: rows of up, and inputs, are left out from these shares of a matrix on "
                  "(0.6 0.45 for machines that list late)")
      ->expected(2)
      ->check(CLI::Range(0.0, 0.95));
  sub->add_option("--channel-weight", o->channel_weight, "of |up| over tokens: mean (default) or rms")
      ->check(CLI::IsMember({"mean", "rms"}));
  sub->add_option("--report", o->report, "with a budget: an HTML page of what was done");
  sub->add_option("--held-out", o->held_out, "text files to report the loss on, before and after");
  sub->add_option("--sequences", o->sequences, "calibration sequences")->check(CLI::Range(2, 65536));
  sub->add_option(
      "--gradients", o->gradients,
      "take gradients of so many of them (0: all, but of models above 20 M parameters 8, or as many "
      "as give the widest linear four tokens an input)");
  std::vector<std::string> parts;
  for (const Part& p : kParts) parts.emplace_back(p.name);
  sub->add_option("--without", o->without,
                  "with a budget: leave out parts of the method (docs/compression.md), to measure them")
      ->check(CLI::IsMember(parts));
  sub->add_option("--length", o->length, "tokens of a calibration sequence")->check(CLI::Range(32, 65536));
  sub->add_option("--memory", o->memory,
                  "MiB of activations to keep; more of them go to a file beside the output")
      ->check(CLI::Range(1, 1 << 20));
  sub->add_option("--seed", o->seed, "of everything random");
  sub->add_option("--chat-format", o->chat_format, "chat format, where the template is not recognised");
  auto* retrieval = sub->add_flag("--retrieval", o->retrieval,
                                  "codebooks for attending to the few keys of a long context that matter");
  sub->add_flag(
         "--no-retrieval", o->no_retrieval,
         "no such codebooks; else --bits adds them where the context is long and they are small beside "
         "the file")
      ->excludes(retrieval);
  sub->add_option("--centroids", o->centroids, "of a codebook: a multiple of 16, at most 1024 (default)");
  sub->add_option("--codebook-metric", o->codebook_metric,
                  "keep what queries see of keys (default), or all directions alike, for comparison")
      ->check(CLI::IsMember({"queries", "euclidean"}));
  sub->add_option("-t,--threads", o->threads, "threads; 0: all performance cores")->check(CLI::Range(0, 256));
  sub->add_flag("--json", o->json, "one JSON object on stdout");
  sub->callback([o] { run_compress(*o); });
}

}  // namespace cli
