// minnow tokenize: shows how a text is cut.
#include "common.h"

namespace cli {
namespace {

struct Options {
  RunOptions run;
  std::string text, file;
  bool special = false, bos = false, json = false;
};

void run_tokenize(const Options& o) {
  const Engine engine = o.run.engine();
  const Model model = o.run.load(engine);
  const std::string text = o.file.empty() ? o.text : read_file(o.file);
  const std::vector<int32_t> ids = tokenize(model, text, o.bos, o.special);
  if (o.json) {
    std::printf("%s\n", nlohmann::json{{"tokens", ids}, {"count", ids.size()}}.dump().c_str());
    return;
  }
  for (int32_t id : ids) {
    const std::string piece = nlohmann::json(detokenize(model, {id}))
                                  .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    std::printf("%d\t%s\n", id, piece.c_str());
  }
}

}  // namespace

void add_tokenize(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("tokenize", "show the tokens of a text");
  o->run.add_to(*sub);
  sub->add_option("text", o->text, "the text");
  sub->add_option("--file", o->file, "read the text from a file")->excludes("text");
  sub->add_flag("--bos", o->bos, "with the tokens the model puts around a text");
  sub->add_flag("--special", o->special, "read special tokens in the text");
  sub->add_flag("--json", o->json, "one JSON object");
  sub->callback([o] { run_tokenize(*o); });
}

}  // namespace cli
