// What the commands share: handles that end themselves, the common switches, errors, progress.
#pragma once

#include <minnow/minnow.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace cli {

/// A failure whose message is ready for the user; main() prints it and exits with 1.
struct Failure {
  std::string message;
};

/// The same for wrong usage: exit status 2.
struct Misuse : Failure {};

/// Throws a Failure with minnow's own message when the call failed.
void check(minnow_status status);

struct Destroy {
  void operator()(minnow_engine* p) const { minnow_engine_destroy(p); }
  void operator()(minnow_model* p) const { minnow_model_destroy(p); }
  void operator()(minnow_session* p) const { minnow_session_destroy(p); }
};
using Engine = std::unique_ptr<minnow_engine, Destroy>;
using Model = std::unique_ptr<minnow_model, Destroy>;
using Session = std::unique_ptr<minnow_session, Destroy>;

/// Switches of every command that runs a model.
struct RunOptions {
  std::string model, isa, kv = "f16", sparsity;
  uint32_t threads = 0, context = 0;
  float sparsity_scale = 1.0f;
  std::string retrieval;
  uint32_t retrieval_from = minnow_session_params_default().retrieval_from;
  float retrieval_fraction = minnow_session_params_default().retrieval_fraction;
  uint32_t retrieval_budget = minnow_session_params_default().retrieval_budget;
  bool retrieval_measure = false;
  uint32_t kv_budget = 0;  ///< MiB
  std::string kv_dir;
  bool mask_prompts = false;  ///< set by commands that measure loss

  void add_to(CLI::App& app);
  Engine engine() const;
  Model load(const Engine& engine) const;
  /// A session of at least `context` tokens unless the user said otherwise.
  Session session(const Model& model, uint32_t wanted = 0) const;
  uint32_t kv_type() const;
};

/// Switches of generation.
struct SampleOptions {
  minnow_generate_params params = minnow_generate_params_default();
  std::vector<std::string> stop;
  std::vector<std::string> bias;

  void add_to(CLI::App& app);
  /// The parameters with pointers into this object.
  const minnow_generate_params* get();

 private:
  std::vector<const char*> stop_pointers_;
  std::vector<minnow_logit_bias> biases_;
};

minnow_model_info info_of(const Model& model);
std::vector<int32_t> tokenize(const Model& model, const std::string& text, bool add_special,
                              bool parse_special);
std::string detokenize(const Model& model, const std::vector<int32_t>& tokens);
std::string read_file(const std::string& path);

/// Streams generated text to stdout; for minnow_generate*().
int print_text(void* user, const char* text, size_t length, int32_t token);
/// "12 tokens prefilled, 250.0 tok/s ..." on stderr.
void print_timings(const minnow_generate_result& result);

/// A bar with percent and ETA on stderr, when that is a terminal; lines now and then otherwise.
class ProgressBar {
 public:
  explicit ProgressBar(std::string label);
  ~ProgressBar();
  void update(double done);

 private:
  std::string label_;
  bool terminal_;
  double start_, last_ = -1.0;
};

double now();
/// Most memory resident since the start.
uint64_t peak_rss_bytes();

/// Each command adds itself to the program.
void add_compress(CLI::App& app);
void add_complete(CLI::App& app);
void add_chat(CLI::App& app);
void add_eval(CLI::App& app);
void add_bench(CLI::App& app);
void add_info(CLI::App& app);
void add_tokenize(CLI::App& app);

}  // namespace cli
