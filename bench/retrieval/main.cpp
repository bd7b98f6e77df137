// bench_retrieval: what selecting positions costs in quality. Every arm goes on from the same prefilled KV
// cache.
//
//   bench_retrieval MODEL.mnw needles QUESTIONS.jsonl ARM...
//     questions as `minnow eval --needles` takes them
//   bench_retrieval MODEL.mnw text TEXT ARM...
//     loss on the last quarter of windows
//
// Settings by environment: KV (f32, f16, q8), THREADS, LIMIT (questions, windows), WINDOW (8192).
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "base/cpu.h"
#include "compress/runtime_text.h"
#include "exec/decoder.h"
#include "exec/float_gemm.h"
#include "retrieval/arms.h"
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

struct Outcome {
  uint64_t right = 0, gained = 0, lost = 0, attended = 0, seen = 0, tokens = 0;
  double nll = 0.0, seconds = 0.0;
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
    decoder_ = std::make_unique<exec::Decoder>(must(exec::Decoder::create(plan_, *model_.pool, o)));
    for (const std::string& a : arms) arms_.push_back(parse_arm(a, plan_, o.kv));
    outcomes_.resize(arms_.size());
  }

  void needles(const std::string& path) {
    std::ifstream in(path);
    const auto limit = std::stoul(setting("LIMIT", "0"));
    size_t questions = 0;
    for (std::string line; std::getline(in, line) && (limit == 0 || questions < limit); ++questions) {
      const auto q = nlohmann::json::parse(line);
      const std::string prompt = q.at("prompt"), answer = q.at("answer");
      const size_t cut = prompt.rfind('\n');
      const std::vector<int32_t> whole = encode(prompt), head = encode(prompt.substr(0, cut));
      size_t same = 0;
      while (same < head.size() && head[same] == whole[same]) ++same;
      decoder_->rewind(0);
      must(decoder_->forward(std::span(whole).first(same)));
      bool dense = false;
      for (size_t a = 0; a < arms_.size(); ++a) {
        const bool right = answers(a, std::span(whole).subspan(same), static_cast<uint32_t>(same), answer);
        if (a == 0) dense = right;
        outcomes_[a].right += right, outcomes_[a].gained += right && !dense,
            outcomes_[a].lost += dense && !right;
      }
      if (questions % 20 == 19) std::fprintf(stderr, "%zu questions\n", questions + 1), print(questions + 1);
    }
    print(questions);
  }

  void text(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    const std::string all((std::istreambuf_iterator<char>(in)), {});
    const std::vector<int32_t> tokens = encode(all);
    const size_t window = decoder_->context(), scored = window / 4;
    const auto limit = std::stoul(setting("LIMIT", "0"));
    for (size_t w = 0; (w + 1) * window <= tokens.size() && (limit == 0 || w < limit); ++w) {
      const std::span<const int32_t> all_of = std::span(tokens).subspan(w * window, window);
      decoder_->rewind(0);
      must(decoder_->forward(all_of.first(window - scored - 1)));
      for (size_t a = 0; a < arms_.size(); ++a) {
        decoder_->rewind(static_cast<uint32_t>(window - scored - 1));
        use(a);
        const auto start = std::chrono::steady_clock::now();
        const exec::RetrievalCounts before = decoder_->retrieval_counts();
        for (size_t i = window - scored - 1; i + 1 < window; ++i) {
          must(decoder_->forward(all_of.subspan(i, 1)));
          outcomes_[a].nll -= sampling::log_softmax(decoder_->logits(), all_of[i + 1]);
          ++outcomes_[a].tokens;
        }
        count(a, before, start);
      }
      print(w + 1);
    }
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
    outcomes_[a].seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  /// Decodes the rest of the prompt and a greedy answer behind it.
  bool answers(size_t a, std::span<const int32_t> rest, uint32_t from, const std::string& answer) {
    decoder_->rewind(from);
    use(a);
    const auto start = std::chrono::steady_clock::now();
    const exec::RetrievalCounts before = decoder_->retrieval_counts();
    for (const int32_t t : rest) must(decoder_->forward({&t, 1})), ++outcomes_[a].tokens;
    std::vector<int32_t> said;
    std::string text;
    while (text.size() < answer.size() && answer.starts_with(text) &&
           decoder_->position() < decoder_->context()) {
      const auto logits = decoder_->logits();
      said.push_back(static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
      text = tokenizer_->decode(said, true);
      must(decoder_->forward({&said.back(), 1})), ++outcomes_[a].tokens;
    }
    count(a, before, start);
    return text.starts_with(answer);
  }

  void print(size_t rounds) const {
    for (size_t a = 0; a < arms_.size(); ++a) {
      const Outcome& o = outcomes_[a];
      nlohmann::json j = {
          {"arm", arms_[a].name}, {"rounds", rounds}, {"tok_s", double(o.tokens) / o.seconds}};
      j["union"] = o.seen == 0 ? 1.0 : double(o.attended) / double(o.seen);
      if (o.nll != 0.0)
        j["nll"] = o.nll / double(o.tokens), j["above"] = (o.nll - outcomes_[0].nll) / double(o.tokens);
      else
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
};

}  // namespace
}  // namespace minnow::bench

int main(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr, "usage: bench_retrieval MODEL.mnw needles|text FILE ARM...\n");
    return 2;
  }
  try {
    minnow::bench::Bench bench(argv[1], {argv + 4, argv + argc});
    if (std::string(argv[2]) == "needles")
      bench.needles(argv[3]);
    else
      bench.text(argv[3]);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "bench_retrieval: %s\n", e.what());
    return 1;
  }
}
