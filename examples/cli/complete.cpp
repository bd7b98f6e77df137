// minnow complete: continues a text.
#include "common.h"

namespace cli {
namespace {

struct Options {
  RunOptions run;
  SampleOptions sample;
  std::string prompt, prompt_file;
  std::vector<int32_t> ids;
};

void complete(Options& o) {
  const Engine engine = o.run.engine();
  const Model model = o.run.load(engine);
  const minnow_model_info info = info_of(model);
  if (!o.prompt_file.empty()) o.prompt = read_file(o.prompt_file);
  std::vector<int32_t> prompt = o.ids;
  if (prompt.empty() && info.has_tokenizer) prompt = tokenize(model, o.prompt, true, false);
  if (prompt.empty() && info.bos_id >= 0) prompt.push_back(info.bos_id);
  if (prompt.empty())
    throw Failure{"there is nothing to continue: give -p TEXT" +
                  std::string(info.has_tokenizer ? "" : ", or --ids")};
  const uint64_t wanted = prompt.size() + o.sample.params.max_tokens;
  const Session session =
      o.run.session(model, static_cast<uint32_t>(std::min<uint64_t>(wanted, info.max_context)));
  if (o.ids.empty() && info.has_tokenizer) std::fwrite(o.prompt.data(), 1, o.prompt.size(), stdout);
  minnow_generate_result result{};
  result.struct_size = sizeof result;
  check(minnow_generate_tokens(session.get(), prompt.data(), prompt.size(), o.sample.get(), print_text,
                               nullptr, &result));
  std::printf("\n");
  std::fflush(stdout);  // before the timings on stderr
  print_timings(result);
}

}  // namespace

void add_complete(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("complete", "continue a text");
  o->run.add_to(*sub);
  o->sample.add_to(*sub);
  sub->add_option("-p,--prompt", o->prompt, "the text to continue");
  sub->add_option("--prompt-file", o->prompt_file, "read the text from a file")->excludes("--prompt");
  sub->add_option("--ids", o->ids, "token ids instead of text, comma-separated")
      ->delimiter(',')
      ->excludes("--prompt");
  sub->callback([o] { complete(*o); });
}

}  // namespace cli
