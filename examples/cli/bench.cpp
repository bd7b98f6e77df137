// minnow bench: speed of prefill and decode, beside what the memory allows.
#include <algorithm>
#include <random>

#include "common.h"

namespace cli {
namespace {

struct Options {
  RunOptions run;
  uint32_t prefill = 512, decode = 128, depth = 0, repetitions = 5;
  uint64_t wall_bytes = uint64_t{1} << 30;
  bool json = false;
};

double median(std::vector<double> v) {
  if (v.empty()) return 0.0;
  std::sort(v.begin(), v.end());
  return v.size() % 2 != 0 ? v[v.size() / 2] : 0.5 * (v[v.size() / 2 - 1] + v[v.size() / 2]);
}

/// Tokens drawn evenly from the vocabulary: speed does not depend on which.
std::vector<int32_t> random_tokens(size_t count, uint32_t vocab) {
  std::mt19937 rng(1);
  std::vector<int32_t> out(count);
  for (int32_t& t : out) t = static_cast<int32_t>(rng() % vocab);
  return out;
}

double wall(const Engine& engine, uint64_t bytes) {
  constexpr uint32_t kPasses = 3;
  double best = 0.0;
  check(minnow_engine_read_wall(engine.get(), bytes, kPasses, &best));
  return best;
}

minnow_session_stats stats_of(const Session& session) {
  minnow_session_stats stats{};
  stats.struct_size = sizeof stats;
  check(minnow_session_get_stats(session.get(), &stats));
  return stats;
}

/// Decodes `count` tokens behind `depth` others; tokens a second, and the bytes that one reads.
double decode_rate_at(const Session& session, const std::vector<int32_t>& tokens, uint32_t depth,
                      uint32_t count, double* read) {
  check(minnow_session_rewind(session.get(), depth));
  check(minnow_decode(session.get(), tokens[0]));  // untimed: the first step after a switch or the read wall
  check(minnow_session_rewind(session.get(), depth));
  uint64_t bytes = 0;
  double seconds = 0.0;
  const uint64_t skipped = stats_of(session).weight_bytes_skipped;
  for (uint32_t i = 0; i < count; ++i) {
    bytes += stats_of(session).bytes_per_token;
    const double start = now();
    check(minnow_decode(session.get(), tokens[i]));
    seconds += now() - start;
  }
  bytes -= stats_of(session).weight_bytes_skipped - skipped;
  *read = static_cast<double>(bytes) / count;
  return count / seconds;
}

void bench(const Options& o) {
  const Engine engine = o.run.engine();
  const double load_start = now();
  const Model model = o.run.load(engine);
  const minnow_model_info info = info_of(model);
  const uint64_t context = uint64_t{o.depth} + std::max(o.prefill, o.decode) + 1;
  const Session session = o.run.session(model, static_cast<uint32_t>(context));
  const double load_seconds = now() - load_start;

  const std::vector<int32_t> fill = random_tokens(o.depth, info.vocab_size);
  const std::vector<int32_t> prompt = random_tokens(std::max({o.prefill, o.decode, 1u}), info.vocab_size);
  if (o.depth > 0) check(minnow_prefill(session.get(), fill.data(), fill.size(), nullptr, nullptr));
  // Untimed: the first pass over a file and over fresh memory pays for their pages.
  if (o.prefill > 0) check(minnow_prefill(session.get(), prompt.data(), o.prefill, nullptr, nullptr));

  // What shares the machine slows memory too, so the wall is measured in turn with what it is held against.
  std::vector<double> prefill_rates, decode_rates, dense_rates, walls, shares;
  const bool retrieves = stats_of(session).index_bytes != 0 && o.depth >= o.run.retrieval_from;
  uint64_t peak = 0;
  double read = 0.0;  // bytes of a decode step, on average over the run
  for (uint32_t r = 0; r < o.repetitions; ++r) {
    // Untimed too: measuring the wall left caches cold and, in a virtual machine, page tables empty.
    check(minnow_session_rewind(session.get(), o.depth));
    check(minnow_decode(session.get(), prompt[0]));
    if (o.prefill > 0) {
      check(minnow_session_rewind(session.get(), o.depth));
      const double start = now();
      check(minnow_prefill(session.get(), prompt.data(), o.prefill, nullptr, nullptr));
      prefill_rates.push_back(o.prefill / (now() - start));
    }
    if (o.decode > 0) {
      // With retrieval, attention to everything takes its turn in the same session.
      if (retrieves) {
        double all = 0.0;
        check(minnow_session_set_retrieval(session.get(), 0));
        dense_rates.push_back(decode_rate_at(session, prompt, o.depth, o.decode, &all));
        check(minnow_session_set_retrieval(session.get(), 1));
      }
      decode_rates.push_back(decode_rate_at(session, prompt, o.depth, o.decode, &read));
    }
    if (r == 0) peak = peak_rss_bytes();  // later ones would count the memory of the read wall
    walls.push_back(wall(engine, o.wall_bytes));
    if (o.decode > 0) shares.push_back(100.0 * decode_rates.back() * read / walls.back());
  }
  const double read_wall = median(walls), share = median(shares);
  const double prefill_rate = median(prefill_rates), decode_rate = median(decode_rates);
  const double decode_bytes_s = decode_rate * read;
  nlohmann::json result = {{"model", o.run.model},
                           {"architecture", info.architecture},
                           {"parameters", info.parameters},
                           {"file_bytes", info.file_bytes},
                           {"prefill_tokens", o.prefill},
                           {"decode_tokens", o.decode},
                           {"depth", o.depth},
                           {"repetitions", o.repetitions},
                           {"prefill_tok_s", prefill_rate},
                           {"decode_tok_s", decode_rate},
                           {"decode_bytes_per_token", read},
                           {"decode_gb_s", decode_bytes_s / 1e9},
                           {"read_wall_gb_s", read_wall / 1e9},
                           {"decode_percent_of_wall", share},
                           {"realised_sparsity", stats_of(session).realised_sparsity},
                           {"activated_fraction", stats_of(session).activated_fraction},
                           {"retrieves", retrieves},
                           {"dense_decode_tok_s", median(dense_rates)},
                           {"union_fraction", stats_of(session).attended_fraction},
                           {"index_bytes", stats_of(session).index_bytes},
                           {"kv_bytes", stats_of(session).kv_bytes},
                           {"kv_file_bytes", stats_of(session).kv_file_bytes},
                           {"load_s", load_seconds},
                           {"peak_rss_bytes", peak},
                           {"kv", o.run.kv},
                           {"isa", minnow_engine_isa(engine.get())},
                           {"cpu", minnow_engine_cpu(engine.get())},
                           {"threads", minnow_engine_threads(engine.get())},
#ifdef NDEBUG
                           {"build", "release"}
#else
                           {"build", "debug"}
#endif
  };
  if (o.run.retrieval_measure) result["attended_weight"] = stats_of(session).attended_weight;
  if (o.json) {
    std::printf("%s\n", result.dump().c_str());
    return;
  }
  std::printf("%s, %s, %u threads, %s, medians of %u\n", o.run.model.c_str(), minnow_engine_cpu(engine.get()),
              minnow_engine_threads(engine.get()), minnow_engine_isa(engine.get()), o.repetitions);
  std::printf("prefill %6u tokens at depth %u   %10.1f tok/s\n", o.prefill, o.depth, prefill_rate);
  std::printf("decode  %6u tokens at depth %u   %10.1f tok/s\n", o.decode, o.depth, decode_rate);
  if (retrieves) {
    std::printf("retrieval attends to %.2f %% of the positions; all of them: %.1f tok/s\n",
                100.0 * stats_of(session).attended_fraction, median(dense_rates));
  }
  std::printf("a decode step reads %.2f MB: %.2f GB/s, %.1f %% of the read wall of %.2f GB/s\n", read / 1e6,
              decode_bytes_s / 1e9, share, read_wall / 1e9);
  if (const minnow_session_stats stats = stats_of(session); stats.kv_file_bytes != 0) {
    std::printf("KV cache %.1f MB, %.1f MB of it in a file\n", static_cast<double>(stats.kv_bytes) / 1e6,
                static_cast<double>(stats.kv_file_bytes) / 1e6);
  }
  std::printf("load %.1f ms, peak resident %.1f MB\n", load_seconds * 1e3, static_cast<double>(peak) / 1e6);
#ifndef NDEBUG
  std::printf("THIS IS A DEBUG BUILD: its speed says nothing\n");
#endif
}

}  // namespace

void add_bench(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("bench", "measure speed");
  o->run.add_to(*sub);
  sub->add_option("-p,--prefill", o->prefill, "tokens of the prefill; 0: none")
      ->check(CLI::Range(0, 1 << 24));
  sub->add_option("-n,--decode", o->decode, "tokens of the decode; 0: none")->check(CLI::Range(0, 1 << 24));
  sub->add_option("-d,--depth", o->depth, "tokens in the KV cache before")->check(CLI::Range(0, 1 << 24));
  sub->add_option("-r,--repetitions", o->repetitions, "repetitions; the median is reported")
      ->check(CLI::Range(1, 1000));
  sub->add_option("--wall-bytes", o->wall_bytes, "memory streamed to measure the read wall");
  sub->add_flag("--json", o->json, "one JSON object on stdout");
  sub->callback([o] { bench(*o); });
}

}  // namespace cli
