// minnow chat: a conversation in the terminal. The session keeps what it has read: each turn prefills
// only what is new.
#include <csignal>
#include <iostream>

#include "common.h"

namespace cli {
namespace {

struct Options {
  RunOptions run;
  SampleOptions sample;
  std::string format, system;
};

minnow_session* running = nullptr;  // Ctrl-C ends the answer, not the conversation
void interrupt(int) {
  if (running != nullptr) minnow_session_cancel(running);
}

std::string render(const Model& model, const std::string& format,
                   const std::vector<std::pair<std::string, std::string>>& turns) {
  std::vector<minnow_message> messages;
  for (const auto& [role, text] : turns) messages.push_back({role.c_str(), text.c_str()});
  const char* name = format.empty() ? nullptr : format.c_str();
  size_t length = 0;
  check(minnow_chat_render(model.get(), name, messages.data(), messages.size(), nullptr, 0, &length));
  std::string text(length, '\0');
  check(minnow_chat_render(model.get(), name, messages.data(), messages.size(), text.data(), text.size(),
                           &length));
  return text;
}

int collect(void* user, const char* text, size_t length, int32_t token) {
  static_cast<std::string*>(user)->append(text, length);
  return print_text(nullptr, text, length, token);
}

void chat(Options& o) {
  const Engine engine = o.run.engine();
  const Model model = o.run.load(engine);
  if (info_of(model).has_tokenizer == 0) throw Failure{"this model has no tokenizer, so it cannot chat"};
  const Session session = o.run.session(model);
  std::vector<std::pair<std::string, std::string>> turns;
  if (!o.system.empty()) turns.emplace_back("system", o.system);
  render(
      model, o.format,
      turns.empty() ? decltype(turns){{"user", ""}} : turns);  // a wrong format shows before the first turn
  std::signal(SIGINT, interrupt);
  std::string line;
  while (std::fprintf(stderr, "> "), std::getline(std::cin, line)) {
    if (line.empty()) continue;
    turns.emplace_back("user", line);
    const std::vector<int32_t> prompt = tokenize(model, render(model, o.format, turns), false, true);
    std::string answer;
    minnow_generate_result result{};
    result.struct_size = sizeof result;
    running = session.get();
    const minnow_status status = minnow_generate_tokens(session.get(), prompt.data(), prompt.size(),
                                                        o.sample.get(), collect, &answer, &result);
    running = nullptr;
    std::printf("\n");
    if (status != MINNOW_CANCELLED) check(status);
    print_timings(result);
    turns.emplace_back("assistant", answer);
  }
}

}  // namespace

void add_chat(CLI::App& app) {
  auto o = std::make_shared<Options>();
  o->sample.params.max_tokens = 1024;
  CLI::App* sub = app.add_subcommand("chat", "talk with a model; end with Ctrl-D");
  o->run.add_to(*sub);
  o->sample.add_to(*sub);
  sub->add_option("--system", o->system, "system message");
  sub->add_option("--chat-format", o->format,
                  "chatml, llama2, llama3, gemma, phi3, mistral, zephyr, granite; default: the model's own");
  sub->callback([o] { chat(*o); });
}

}  // namespace cli
