// bench_retrieval: what selecting positions costs in quality, and what it gains. Every arm goes on from the
// same prefilled KV cache.
//
//   bench_retrieval MODEL.mnw needles QUESTIONS.jsonl ARM...
//     questions as `minnow eval --needles` takes them
//   bench_retrieval MODEL.mnw text TEXT ARM...
//     loss on the last quarter of windows, KL divergence from the first arm
//   bench_retrieval MODEL.mnw speed TEXT ARM...
//     tokens a second at the end of WINDOW positions: the first FILL (4096) tokens of the text, over and
//     over; arms in turns, medians. At last, how much anonymous and shared memory grew since the model was
//     there: KV cache, index and workspace
//
// Settings by environment: KV (f32, f16, q8), THREADS, LIMIT (questions, windows, turns), WINDOW (8192),
// KV_BUDGET (MiB) and KV_DIR; COLD (speed): so many tokens of each arm with none of the KV file in
// memory before each of them (Linux, as root).
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>

#include "base/cpu.h"
#include "base/file.h"
#include "compress/runtime_text.h"
#include "exec/decoder.h"
#include "exec/float_gemm.h"
#include "retrieval/arms.h"
#include "retrieval/cold_file.h"
#include "retrieval/long_context.h"
#include "sampling/sampler.h"

namespace minnow::bench {
namespace {

template <typename T>
T must(Result<T> result) {
  if (!result.ok()) throw std::runtime_error(result.status().message());
  return std::move(result).value();
}
void must(const Status& status) {
  if (!status.ok()) throw std::runtime_error(status.message());
}

std::string setting(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : otherwise;
}

std::string read_all(const std::string& path) {
  return must(read_text_file(path, uint64_t{1} << 30));
}

/// The sum of what a file of "NAME: NUMBER" lines says of these names; 0 where the system has no such file.
uint64_t said_by(const char* file, std::initializer_list<const char*> names) {
  std::ifstream in(file);
  uint64_t sum = 0;
  for (std::string line; std::getline(in, line);) {
    for (const char* name : names) {
      if (line.starts_with(name)) sum += std::stoull(line.substr(line.find(':') + 1));
    }
  }
  return sum;
}

/// Bytes of anonymous and shared memory.
uint64_t resident() {
  return said_by("/proc/self/status", {"RssAnon:", "RssShmem:"}) << 10;
}

/// Bytes that this process has had read from disks.
uint64_t disk_bytes_read() {
  return said_by("/proc/self/io", {"read_bytes:"});
}

/// KL divergence of two distributions by their logits.
double divergence(std::span<const float> p, std::span<const float> q) {
  const double log_p = sampling::log_sum_exp(p), log_q = sampling::log_sum_exp(q);
  double sum = 0.0;
  for (size_t i = 0; i < p.size(); ++i)
    sum += std::exp(double{p[i]} - log_p) * (double{p[i]} - log_p - double{q[i]} + log_q);
  return sum;
}

struct Outcome {
  uint64_t right = 0, gained = 0, lost = 0, attended = 0, seen = 0, tokens = 0, scored = 0;
  double nll = 0.0, kl = 0.0, seconds = 0.0, weight = 0.0;
  uint64_t weighed = 0;
};

class Bench {
 public:
  Bench(const std::string& path, const std::vector<std::string>& arms)
      : model_(must(
            compress::OpenModel::open(path, static_cast<uint32_t>(std::stoul(setting("THREADS", "0")))))),
        plan_(must(model::Plan::create(*model_.weights, detect_isa(), exec::float_gemm_available()))),
        tokenizer_(must(compress::tokenizer_of(*model_.container))) {
    exec::DecoderOptions o;
    o.context = static_cast<uint32_t>(std::stoul(setting("WINDOW", "8192")));
    o.kv = must(kv::type_from(setting("KV", "f16")));
    o.retrieval.on = true, o.retrieval.from = 0;
    o.kv_budget = std::stoull(setting("KV_BUDGET", "0")) << 20, o.kv_dir = setting("KV_DIR", "");
    resident_ = resident();
    decoder_ = std::make_unique<exec::Decoder>(must(exec::Decoder::create(plan_, *model_.pool, o)));
    for (const std::string& a : arms) arms_.push_back(parse_arm(a, plan_, o.kv));
    outcomes_.resize(arms_.size());
  }

  void needles(const std::string& path) {
    needles_ = true;
    std::istringstream in(read_all(path));
    const auto limit = std::stoul(setting("LIMIT", "0"));
    size_t questions = 0;
    for (std::string line; std::getline(in, line) && (limit == 0 || questions < limit); ++questions) {
      const auto q = nlohmann::json::parse(line);
      const std::string prompt = q.at("prompt"), answer = q.at("answer");
      const size_t cut = prompt.rfind('\n');
      const std::vector<int32_t> head = encode(prompt.substr(0, cut)), whole = encode(prompt),
                                 all = encode(prompt + answer);
      size_t same = 0;
      while (same < head.size() && head[same] == whole[same]) ++same;
      size_t asked = same;  // where the answer begins: its first token may hold the end of the prompt
      while (asked < whole.size() && whole[asked] == all[asked]) ++asked;
      decoder_->rewind(0);
      must(decoder_->forward(std::span(whole).first(same)));
      bool dense = false;
      for (size_t a = 0; a < arms_.size(); ++a) {
        const bool right = answers(a, std::span(all).subspan(same, asked - same), static_cast<uint32_t>(same),
                                   std::span(all).subspan(asked));
        if (a == 0) dense = right;
        outcomes_[a].right += right, outcomes_[a].gained += right && !dense,
            outcomes_[a].lost += dense && !right;
      }
      if (questions % 10 == 9) print(questions + 1);
    }
    print(questions);
  }

  void text(const std::string& path) {
    const std::vector<int32_t> tokens = encode(read_all(path));
    const size_t window = decoder_->context(), scored = window / 4;
    const auto limit = std::stoul(setting("LIMIT", "0"));
    std::vector<std::vector<float>> first(scored);  // logits of the first arm
    for (size_t w = 0; (w + 1) * window <= tokens.size() && (limit == 0 || w < limit); ++w) {
      const std::span<const int32_t> all_of = std::span(tokens).subspan(w * window, window);
      decoder_->rewind(0);
      must(decoder_->forward(all_of.first(window - scored - 1)));
      for (size_t a = 0; a < arms_.size(); ++a) {
        decoder_->rewind(static_cast<uint32_t>(window - scored - 1));
        use(a);
        const auto start = std::chrono::steady_clock::now();
        const exec::RetrievalCounts before = decoder_->retrieval_counts();
        for (size_t i = 0; i < scored; ++i) {
          const std::span<const int32_t> at = all_of.subspan(window - scored - 1 + i, 2);
          must(decoder_->forward(at.first(1)));
          const auto logits = decoder_->logits();
          if (a == 0) first[i].assign(logits.begin(), logits.end());
          outcomes_[a].kl += divergence(first[i], logits);
          outcomes_[a].nll -= sampling::log_softmax(logits, at[1]);
          ++outcomes_[a].tokens, ++outcomes_[a].scored;
        }
        count(a, before, start);
      }
      print(w + 1);
    }
  }

  void speed(const std::string& path) {
    constexpr uint32_t kTokens = 16;
    const std::vector<int32_t> tokens = encode(read_all(path).substr(0, 1 << 20));
    if (decoder_->context() <= kTokens + 1 || tokens.size() <= kTokens)
      throw std::invalid_argument("WINDOW and the text must have more than " + std::to_string(kTokens + 1) +
                                  " tokens");
    const uint32_t depth = decoder_->context() - kTokens - 1;
    const auto fill = std::min<size_t>({std::stoul(setting("FILL", "4096")), depth, tokens.size()});
    const auto turns = std::max(1ul, std::stoul(setting("LIMIT", "5")));
    must(decoder_->forward(std::span(tokens).first(fill)));
    lengthen(*decoder_, plan_, *model_.pool, depth);
    std::vector<std::vector<double>> rates(arms_.size());
    for (size_t turn = 0; turn < turns; ++turn) {
      for (size_t a = 0; a < arms_.size(); ++a) {
        use(a);
        decoder_->rewind(depth);
        must(decoder_->forward({tokens.data(), 1}));  // untimed: after a switch caches hold something else
        const exec::RetrievalCounts before = decoder_->retrieval_counts();
        const auto start = std::chrono::steady_clock::now();
        for (uint32_t i = 0; i < kTokens; ++i) must(decoder_->forward({&tokens[1 + i], 1}));
        rates[a].push_back(kTokens /
                           std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
        count(a, before, start);
      }
    }
    for (size_t a = 0; a < arms_.size(); ++a) {
      std::sort(rates[a].begin(), rates[a].end());
      const double median = rates[a][turns / 2];
      const Outcome& o = outcomes_[a];
      const nlohmann::json j = {{"arm", arms_[a].name},
                                {"depth", depth},
                                {"tok_s", median},
                                {"of_first", median / rates[0][turns / 2]},
                                {"union", o.seen == 0 ? 1.0 : double(o.attended) / double(o.seen)}};
      std::printf("%s\n", j.dump().c_str());
    }
    const nlohmann::json j = {{"kv_bytes", decoder_->kv_bytes()},
                              {"kv_file_bytes", decoder_->kv_file_bytes()},
                              {"index_bytes", decoder_->index_bytes()},
                              {"resident_growth", resident() - resident_}};
    std::printf("%s\n", j.dump().c_str());
    cold(tokens, depth, std::stoul(setting("COLD", "0")));
  }

 private:
  std::vector<int32_t> encode(const std::string& text) const {
    std::vector<int32_t> out;
    must(tokenizer_->encode(text, true, false, out));
    return out;
  }
  void use(size_t a) { decoder_->set_retrieval(arms_[a].options); }
  void count(size_t a, const exec::RetrievalCounts& before, std::chrono::steady_clock::time_point start) {
    const exec::RetrievalCounts& now = decoder_->retrieval_counts();
    outcomes_[a].attended += now.attended - before.attended, outcomes_[a].seen += now.seen - before.seen;
    outcomes_[a].weight += now.weight - before.weight, outcomes_[a].weighed += now.weighed - before.weighed;
    outcomes_[a].seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  /// Single tokens behind a KV file that lies on the disk alone; arms in turns, medians.
  void cold(std::span<const int32_t> tokens, uint32_t depth, size_t turns) {
    if (turns == 0) return;
    std::vector<std::vector<double>> seconds(arms_.size());
    std::vector<uint64_t> read(arms_.size());
    for (size_t turn = 0; turn < turns; ++turn) {
      for (size_t a = 0; a < arms_.size(); ++a) {
        use(a);
        decoder_->rewind(depth);
        must(decoder_->forward(tokens.first(1)));  // untimed, as above
        if (forget_mapped_files(setting("KV_DIR", "")) == 0)
          throw std::runtime_error(
              "nothing of the KV cache lies in a file: KV_BUDGET leaves room for all of it");
        const uint64_t before = disk_bytes_read();
        const auto start = std::chrono::steady_clock::now();
        must(decoder_->forward(tokens.subspan(1, 1)));
        seconds[a].push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
        read[a] += disk_bytes_read() - before;
      }
    }
    for (size_t a = 0; a < arms_.size(); ++a) {
      std::sort(seconds[a].begin(), seconds[a].end());
      const nlohmann::json j = {{"arm", arms_[a].name},
                                {"cold_seconds_a_token", seconds[a][turns / 2]},
                                {"cold_bytes_a_token", read[a] / turns}};
      std::printf("%s\n", j.dump().c_str());
    }
  }

  /// Decodes the rest of the prompt and the answer behind it: whether each token of it is the likeliest.
  bool answers(size_t a, std::span<const int32_t> rest, uint32_t from, std::span<const int32_t> answer) {
    decoder_->rewind(from);
    use(a);
    const auto start = std::chrono::steady_clock::now();
    const exec::RetrievalCounts before = decoder_->retrieval_counts();
    for (const int32_t t : rest) must(decoder_->forward({&t, 1})), ++outcomes_[a].tokens;
    bool right = true;
    for (const int32_t& t : answer) {
      const auto logits = decoder_->logits();
      right &= logits[static_cast<size_t>(t)] == *std::max_element(logits.begin(), logits.end());
      outcomes_[a].nll -= sampling::log_softmax(logits, t), ++outcomes_[a].scored;
      if (&t != &answer.back()) must(decoder_->forward({&t, 1})), ++outcomes_[a].tokens;
    }
    count(a, before, start);
    return right;
  }

  void print(size_t rounds) const {
    for (size_t a = 0; a < arms_.size(); ++a) {
      const Outcome& o = outcomes_[a];
      nlohmann::json j = {
          {"arm", arms_[a].name}, {"rounds", rounds}, {"tok_s", double(o.tokens) / o.seconds}};
      j["union"] = o.seen == 0 ? 1.0 : double(o.attended) / double(o.seen);
      if (o.weighed != 0) j["weight"] = o.weight / double(o.weighed);
      if (o.scored != 0)
        j["nll"] = o.nll / double(o.scored), j["above"] = (o.nll - outcomes_[0].nll) / double(o.scored);
      if (o.kl != 0.0) j["kl"] = o.kl / double(o.scored);
      if (needles_)
        j["accuracy"] = double(o.right) / double(rounds), j["gained"] = o.gained, j["lost"] = o.lost;
      std::printf("%s\n", j.dump().c_str());
    }
    std::fflush(stdout);
  }

  compress::OpenModel model_;
  model::Plan plan_;
  std::unique_ptr<const text::Tokenizer> tokenizer_;
  std::unique_ptr<exec::Decoder> decoder_;
  std::vector<Arm> arms_;
  std::vector<Outcome> outcomes_;
  bool needles_ = false;
  uint64_t resident_ = 0;
};

}  // namespace
}  // namespace minnow::bench

int main(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr, "usage: bench_retrieval MODEL.mnw needles|text|speed FILE ARM...\n");
    return 2;
  }
  try {
    minnow::bench::Bench bench(argv[1], {argv + 4, argv + argc});
    const std::string what = argv[2];
    if (what == "needles")
      bench.needles(argv[3]);
    else if (what == "text")
      bench.text(argv[3]);
    else if (what == "speed")
      bench.speed(argv[3]);
    else
      throw std::invalid_argument("'" + what + "' is none of needles, text and speed");
  } catch (const std::exception& e) {
    std::fprintf(stderr, "bench_retrieval: %s\n", e.what());
    return 1;
  }
}
