#include "common.h"

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <sstream>

namespace cli {

void check(minnow_status status) {
  if (status != MINNOW_OK) throw Failure{minnow_last_error()};
}

void RunOptions::add_to(CLI::App& app) {
  app.add_option("-m,--model", model, "the .mnw file")->required();
  app.add_option("-t,--threads", threads, "threads; 0: the performance cores this process may use")
      ->check(CLI::Range(0, 256));
  app.add_option("--isa", isa, "force an instruction-set level")
      ->check(
          CLI::IsMember({"scalar", "avx2", "avxvnni", "avx512vnni", "neon", "neon_dotprod", "neon_i8mm"}));
  app.add_option("-c,--ctx", context, "tokens the KV cache holds; 0: what the task needs");
  app.add_option("--kv", kv, "type of the KV cache")->check(CLI::IsMember({"f32", "f16", "q8"}));
  auto* budget =
      app.add_option(
             "--kv-budget", kv_budget,
             "MiB of KV cache and retrieval index to keep in memory; what is beyond lies in a file in "
             "--kv-dir (default: all in memory)")
          ->check(CLI::Range(1u, 1u << 24));
  app.add_option("--kv-dir", kv_dir, "directory of that file, on a disk")->needs(budget);
  budget->needs("--kv-dir");
  app.add_option("--sparsity", sparsity,
                 "leave out what the model's thresholds allow (default: where it has some)")
      ->check(CLI::IsMember({"on", "off"}));
  app.add_option("--sparsity-scale", sparsity_scale, "factor on all thresholds; less keeps more")
      ->check(CLI::Range(0.0f, 1e6f));
  app.add_option("--retrieval", retrieval,
                 "attend to the few keys of a long context that matter most (default: where the model has "
                 "codebooks)")
      ->check(CLI::IsMember({"on", "off"}));
  app.add_option("--retrieval-from", retrieval_from, "positions up to which a token attends to all of them");
  app.add_option("--top-k-fraction", retrieval_fraction,
                 "of all positions, that each query head takes at most")
      ->check(CLI::Range(1e-6f, 1.0f));
  app.add_option("--top-k-budget", retrieval_budget, "and no more than so many; 0: no bound");
  app.add_flag("--retrieval-measure", retrieval_measure,
               "say what share of attention's weight the selected positions hold (slow)");
}

Engine RunOptions::engine() const {
  minnow_engine_params p = minnow_engine_params_default();
  p.threads = threads;
  p.isa = isa.empty() ? nullptr : isa.c_str();
  minnow_engine* e = nullptr;
  check(minnow_engine_create(&p, &e));
  return Engine(e);
}

Model RunOptions::load(const Engine& engine) const {
  minnow_model* m = nullptr;
  check(minnow_model_load(engine.get(), model.c_str(), &m));
  return Model(m);
}

uint32_t RunOptions::kv_type() const {
  return kv == "f32" ? MINNOW_KV_F32 : kv == "f16" ? MINNOW_KV_F16 : MINNOW_KV_Q8;
}

Session RunOptions::session(const Model& m, uint32_t wanted) const {
  minnow_session_params p = minnow_session_params_default();
  p.context = context != 0 ? context : wanted;
  p.kv_type = static_cast<minnow_kv_type>(kv_type());
  p.sparsity = sparsity == "on"    ? MINNOW_SPARSITY_ON
               : sparsity == "off" ? MINNOW_SPARSITY_OFF
                                   : MINNOW_SPARSITY_AUTO;
  p.sparsity_scale = sparsity_scale;
  p.sparsity_prompts = mask_prompts ? 1 : 0;
  p.retrieval = retrieval == "on"    ? MINNOW_RETRIEVAL_ON
                : retrieval == "off" ? MINNOW_RETRIEVAL_OFF
                                     : MINNOW_RETRIEVAL_AUTO;
  p.retrieval_from = retrieval_from;
  p.retrieval_fraction = retrieval_fraction;
  p.retrieval_budget = retrieval_budget;
  p.retrieval_measure = retrieval_measure ? 1 : 0;
  p.kv_budget = uint64_t{kv_budget} << 20;
  p.kv_dir = kv_dir.empty() ? nullptr : kv_dir.c_str();
  minnow_session* s = nullptr;
  check(minnow_session_create(m.get(), &p, &s));
  return Session(s);
}

void SampleOptions::add_to(CLI::App& app) {
  app.add_option("-n,--tokens", params.max_tokens, "tokens to generate at most");
  app.add_option("--temp", params.temperature, "temperature; 0: always the likeliest token");
  app.add_option("--top-k", params.top_k, "draw among the k likeliest; 0: all");
  app.add_option("--top-p", params.top_p, "draw among the likeliest that hold this probability; 1: all");
  app.add_option("--min-p", params.min_p, "leave out what is less likely than this share of the likeliest");
  app.add_option("--repetition-penalty", params.repetition_penalty,
                 "above 1: recent tokens become less likely");
  app.add_option("--presence-penalty", params.presence_penalty, "subtracted from the logit of recent tokens");
  app.add_option("--frequency-penalty", params.frequency_penalty, "the same, for each occurrence");
  app.add_option("--penalty-window", params.penalty_window, "how many tokens are recent");
  app.add_option("--seed", params.seed, "seed of the random draws");
  app.add_option("--stop", stop, "end at this text (may be given again)");
  app.add_option("--logit-bias", bias,
                 "TOKEN=VALUE, added to the token's logit; -inf bans it (may be given again)");
  app.add_flag("--ignore-eos", params.ignore_eos, "go on after the model's end token");
}

const minnow_generate_params* SampleOptions::get() {
  stop_pointers_.clear();
  for (const std::string& s : stop) stop_pointers_.push_back(s.c_str());
  params.stop = stop_pointers_.data();
  params.stop_count = stop_pointers_.size();
  biases_.clear();
  for (const std::string& b : bias) {
    const size_t split = b.find('=');
    char *end = nullptr, *end2 = nullptr;
    const long token = std::strtol(b.c_str(), &end, 10);
    const float value = split == std::string::npos ? NAN : std::strtof(b.c_str() + split + 1, &end2);
    constexpr long kLargest = 0x7fffffff;
    if (split == std::string::npos || split == 0 || token < 0 || token > kLargest ||
        end != b.c_str() + split || *end2 != '\0' || std::isnan(value)) {
      throw Misuse{{"--logit-bias '" + b + "' is not TOKEN=VALUE, like 42=-1.5 or 42=-inf"}};
    }
    biases_.push_back({static_cast<int32_t>(token), value});
  }
  params.logit_bias = biases_.data();
  params.logit_bias_count = biases_.size();
  return &params;
}

minnow_model_info info_of(const Model& model) {
  minnow_model_info info{};
  info.struct_size = sizeof info;
  check(minnow_model_get_info(model.get(), &info));
  return info;
}

std::vector<int32_t> tokenize(const Model& model, const std::string& text, bool add_special,
                              bool parse_special) {
  size_t count = 0;
  // A token takes at least one byte of text, but for the special ones around it.
  std::vector<int32_t> ids(text.size() + 16);
  check(minnow_tokenize(model.get(), text.data(), text.size(), add_special, parse_special, ids.data(),
                        ids.size(), &count));
  ids.resize(count);
  return ids;
}

std::string detokenize(const Model& model, const std::vector<int32_t>& tokens) {
  size_t length = 0;
  check(minnow_detokenize(model.get(), tokens.data(), tokens.size(), 0, nullptr, 0, &length));
  std::string text(length, '\0');
  check(minnow_detokenize(model.get(), tokens.data(), tokens.size(), 0, text.data(), text.size(), &length));
  return text;
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  if (in) out << in.rdbuf();
  if (!in || in.bad()) throw Failure{"cannot read '" + path + "'"};
  return out.str();
}

int print_text(void*, const char* text, size_t length, int32_t token) {
  if (length == 0) {
    std::printf("%d ", token);  // a model without a tokenizer
  } else {
    std::fwrite(text, 1, length, stdout);
  }
  std::fflush(stdout);
  return 0;
}

void print_timings(const minnow_generate_result& r) {
  const auto rate = [](uint32_t n, double seconds) { return seconds > 0 ? n / seconds : 0.0; };
  std::fprintf(stderr, "[prefill %u tokens, %.1f tok/s; generated %u tokens, %.1f tok/s]\n", r.prompt_tokens,
               rate(r.prompt_tokens, r.prefill_seconds), r.generated_tokens,
               rate(r.generated_tokens, r.decode_seconds));
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

ProgressBar::ProgressBar(std::string label)
    : label_(std::move(label)), terminal_(isatty(2) != 0), start_(now()) {}

ProgressBar::~ProgressBar() {
  if (terminal_ && last_ >= 0) std::fprintf(stderr, "\n");
}

void ProgressBar::update(double done) {
  const double step = terminal_ ? 0.002 : 0.1;
  if (done < last_ + step && !(done >= 1.0 && last_ < 1.0)) return;
  last_ = done;
  const double elapsed = now() - start_;
  const double left = done > 0.0 ? elapsed * (1.0 - done) / done : 0.0;
  constexpr int kWidth = 30;
  const int filled = static_cast<int>(done * kWidth);
  std::fprintf(stderr, "%s%s [%.*s%*s] %3d%%  %.0f s, ETA %.0f s%s", terminal_ ? "\r" : "", label_.c_str(),
               filled, "##############################", kWidth - filled, "", static_cast<int>(done * 100.0),
               elapsed, left, terminal_ ? " " : "\n");
}

uint64_t peak_rss_bytes() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    uint64_t kilobytes = 0;
    if (word == "VmHWM:" && status >> kilobytes) return kilobytes * 1024;
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace cli
