#include "text/chat_format.h"

#include "text/utf8.h"

namespace minnow::text {
namespace {

using format::ChatKind;
using format::ChatSystem;

ChatFormat turns(ChatKind kind, std::string_view name, std::string_view open, std::string_view close,
                 std::string_view end) {
  ChatFormat f;
  f.kind = kind;
  f.name = name;
  f.system_prefix = cat(open, "system", close);
  f.user_prefix = cat(open, "user", close);
  f.assistant_prefix = f.generation_prompt = cat(open, "assistant", close);
  f.system_suffix = f.user_suffix = f.assistant_suffix = end;
  return f;
}

ChatFormat chatml() {
  ChatFormat f = turns(ChatKind::chatml, "chatml", "<|im_start|>", "\n", "<|im_end|>\n");
  f.stop_strings = {"<|im_end|>"};
  return f;
}

ChatFormat phi4() {
  ChatFormat f = turns(ChatKind::phi4, "phi4", "<|im_start|>", "<|im_sep|>", "<|im_end|>");
  f.stop_strings = {"<|im_end|>"};
  return f;
}

ChatFormat llama3() {
  ChatFormat f =
      turns(ChatKind::llama3, "llama3", "<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>");
  f.begin = "<|begin_of_text|>";
  f.trim = true;
  f.stop_strings = {"<|eot_id|>"};
  return f;
}

ChatFormat gemma() {
  ChatFormat f = turns(ChatKind::gemma, "gemma", "<start_of_turn>", "\n", "<end_of_turn>\n");
  f.begin = "<bos>";
  f.assistant_prefix = f.generation_prompt = "<start_of_turn>model\n";
  f.system = ChatSystem::in_first_user_turn;
  f.system_prefix.clear();
  f.system_suffix = "\n\n";
  f.trim = true;
  f.stop_strings = {"<end_of_turn>"};
  return f;
}

ChatFormat phi3(bool newlines) {
  const std::string_view nl = newlines ? "\n" : "";
  ChatFormat f = turns(ChatKind::phi3, "phi3", "<|", cat("|>", nl), cat("<|end|>", nl));
  f.stop_strings = {"<|end|>"};
  return f;
}

ChatFormat zephyr(std::string_view eos) {
  ChatFormat f = turns(ChatKind::zephyr, "zephyr", "<|", "|>\n", cat(eos, "\n"));
  f.stop_strings = {std::string(eos)};
  return f;
}

ChatFormat granite() {
  ChatFormat f =
      turns(ChatKind::granite, "granite", "<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>\n");
  f.stop_strings = {"<|end_of_text|>"};
  return f;
}

ChatFormat llama2(std::string_view bos, std::string_view eos) {
  ChatFormat f;
  f.kind = ChatKind::llama2;
  f.name = "llama2";
  f.system = ChatSystem::in_first_user_turn;
  f.system_prefix = "<<SYS>>\n";
  f.system_suffix = "\n<</SYS>>\n\n";
  f.user_prefix = cat(bos, "[INST] ");
  f.user_suffix = " [/INST]";
  f.assistant_prefix = " ";
  f.assistant_suffix = cat(" ", eos);
  f.trim = true;
  f.stop_strings = {std::string(eos)};
  return f;
}

struct MistralSpacing {
  std::string_view name, before_inst, after_inst, before_end, before_answer;
};

ChatFormat mistral(const MistralSpacing& s, std::string_view bos, std::string_view eos) {
  ChatFormat f;
  f.kind = ChatKind::mistral;
  f.name = s.name;
  f.begin = bos;
  f.system = ChatSystem::in_first_user_turn;
  f.system_suffix = "\n\n";
  f.user_prefix = cat(s.before_inst, "[INST]", s.after_inst);
  f.user_suffix = cat(s.before_end, "[/INST]");
  f.assistant_prefix = s.before_answer;
  f.assistant_suffix = eos;
  f.stop_strings = {std::string(eos)};
  return f;
}

ChatFormat mistral_v7(std::string_view bos, std::string_view eos) {
  ChatFormat f = mistral({"mistral-v7", "", "", "", ""}, bos, eos);
  f.system = ChatSystem::own_turn;
  f.system_prefix = "[SYSTEM_PROMPT]";
  f.system_suffix = "[/SYSTEM_PROMPT]";
  return f;
}

/// The template with one kind of quotes, real line ends and single spaces, so that one spelling of a
/// characteristic string finds all.
std::string canonical(std::string_view t) {
  std::string out;
  for (size_t i = 0; i < t.size(); ++i) {
    char c = t[i];
    if (c == '\\' && i + 1 < t.size() && t[i + 1] == 'n') {
      c = '\n';
      ++i;
    } else if (c == '"') {
      c = '\'';
    }
    if (c == ' ' && out.ends_with(' ')) continue;
    out.push_back(c);
  }
  return out;
}

bool has(std::string_view text, std::string_view what) {
  return text.find(what) != std::string_view::npos;
}

/// The text of a system turn that the template writes when the messages bring none.
void find_default_system(std::string_view t, ChatFormat& f) {
  constexpr std::string_view kOpen = "<|im_start|>system\n", kClose = "<|im_end|>";
  for (size_t at = t.find(kOpen); at != std::string_view::npos; at = t.find(kOpen, at + 1)) {
    const size_t begin = at + kOpen.size();
    const size_t end = t.find(kClose, begin);
    if (end == std::string_view::npos) return;
    const std::string_view text = t.substr(begin, end - begin);
    if (text.empty() || has(text, "{") || has(text, "' ") || has(text, "'+") || text.starts_with('\''))
      continue;
    f.has_default_system = true;
    f.default_system = text;
    return;
  }
}

RecognisedChat recognise_inst(const std::string& t, std::string_view bos, std::string_view eos) {
  if (has(t, "<<SYS>>")) return {llama2(bos, eos), {}};
  if (has(t, "[SYSTEM_PROMPT]")) {
    return {mistral_v7(bos, eos),
            "the template's own default system message is not used; give one if you need it"};
  }
  MistralSpacing s{"mistral-v3", "", "", "", ""};
  if (has(t, "' [INST]")) s.before_inst = " ";
  if (has(t, "[INST] '")) s.after_inst = " ";
  if (has(t, " [/INST]")) s.before_end = " ";
  if (has(t, "' ' + message['content']") || has(t, "' ' + content")) s.before_answer = " ";
  s.name = !s.before_end.empty() ? "mistral-v1" : !s.after_inst.empty() ? "mistral-v3" : "mistral-tekken";
  RecognisedChat r{mistral(s, bos, eos), {}};
  if (has(t, "eos_token + ' '")) r.format.assistant_suffix += " ";
  if (!has(t, "system")) r.format.system = ChatSystem::none;
  if (has(t, "loop.last and system_message")) {
    r.warning = "the template puts the system message into the last user turn, minnow into the first";
  }
  return r;
}

RecognisedChat recognise(const std::string& t, std::string_view bos, std::string_view eos) {
  if (has(t, "<|start_of_role|>")) {
    RecognisedChat r{granite(), {}};
    if (has(t, "Knowledge Cutoff Date")) {
      r.warning = "the template's default system message with its dates is not used; give one if you need it";
    }
    return r;
  }
  if (has(t, "<|im_sep|>")) return {phi4(), {}};
  if (has(t, "<|im_start|>") && has(t, "<|im_end|>")) {
    RecognisedChat r{chatml(), {}};
    r.format.trim = has(t, "message['content'] | trim") || has(t, "message['content']|trim");
    if (has(t, "## Metadata")) {
      r.warning = "the template writes a metadata header into the system turn, which minnow leaves out";
    } else {
      find_default_system(t, r.format);
    }
    return r;
  }
  if (has(t, "<|start_header_id|>") && has(t, "<|eot_id|>")) {
    RecognisedChat r{llama3(), {}};
    if (has(t, "Cutting Knowledge Date: December 2023")) {
      // Llama 3.1 and 3.2 always write a system turn that begins with two dates.
      r.format.system_prefix += "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n";
      r.format.has_default_system = true;
      if (has(t, "strftime_now"))
        r.warning = "the template's current date is fixed to 26 Jul 2024, its own fallback";
    }
    return r;
  }
  if (has(t, "<start_of_turn>") && has(t, "<end_of_turn>")) {
    RecognisedChat r{gemma(), {}};
    if (has(t, "System role not supported")) r.format.system = ChatSystem::none;
    return r;
  }
  if (has(t, "<|assistant|>") && has(t, "<|end|>")) {
    return {phi3(has(t, "<|end|>\n") || has(t, "<|end|>' + '\n'")), {}};
  }
  if (has(t, "<|user|>\n' + message['content'] + eos_token")) return {zephyr(eos), {}};
  if (has(t, "[INST]")) return recognise_inst(t, bos, eos);

  RecognisedChat r;
  r.format.kind = ChatKind::unknown;
  r.format.name = "unknown";
  r.warning = "the chat template is none that minnow knows; choose a format by name to chat with this model";
  return r;
}

std::string_view trimmed(std::string_view s) {
  while (!s.empty()) {
    const Utf8Char c = decode_utf8(s.substr(0, 4));
    if (!c.valid || !is_white_space(c.codepoint)) break;
    s.remove_prefix(c.length);
  }
  while (!s.empty()) {
    size_t at = s.size() - 1;
    while (at > 0 && (static_cast<uint8_t>(s[at]) & 0xC0) == 0x80) --at;
    const Utf8Char c = decode_utf8(s.substr(at));
    if (!c.valid || !is_white_space(c.codepoint)) break;
    s.remove_suffix(s.size() - at);
  }
  return s;
}

}  // namespace

RecognisedChat recognise_chat(std::string_view template_text, std::string_view bos, std::string_view eos) {
  if (template_text.empty()) return {};
  const std::string t = canonical(template_text);
  const bool inst = has(t, "[INST]");
  RecognisedChat r = recognise(t, bos.empty() && inst ? "<s>" : bos, eos.empty() ? "</s>" : eos);
  if (r.format.kind != ChatKind::unknown && r.format.kind != ChatKind::llama2) {
    // Whether BOS is written is the template's decision; its text is the model's.
    if (!has(t, "bos_token") && !has(t, "<|begin_of_text|>") && !has(t, "<bos>")) {
      r.format.begin.clear();
    } else if (!bos.empty()) {
      r.format.begin = bos;
    }
  }
  r.format.template_text = template_text;
  return r;
}

Result<ChatFormat> chat_format_by_name(std::string_view name) {
  if (name == "chatml") return chatml();
  if (name == "llama2") return llama2("<s>", "</s>");
  if (name == "llama3") return llama3();
  if (name == "gemma") return gemma();
  if (name == "phi3") return phi3(true);
  if (name == "phi4") return phi4();
  if (name == "mistral-v1") return mistral({name, " ", " ", " ", " "}, "<s>", "</s>");
  if (name == "mistral-v3") return mistral({name, "", " ", "", " "}, "<s>", "</s>");
  if (name == "mistral-tekken") return mistral({name, "", "", "", ""}, "<s>", "</s>");
  if (name == "mistral-v7") return mistral_v7("<s>", "</s>");
  if (name == "zephyr") return zephyr("</s>");
  if (name == "granite") return granite();
  return fail(
      Code::not_found, "there is no chat format '", name,
      "'; known are chatml, llama2, llama3, gemma, phi3, phi4, mistral-v1, mistral-v3, mistral-tekken, "
      "mistral-v7, zephyr and granite");
}

ChatFormat copy_chat_format(const format::ChatFormat<std::string_view>& s) {
  ChatFormat f;
  f.kind = s.kind;
  f.name = s.name;
  f.begin = s.begin;
  f.system_prefix = s.system_prefix;
  f.system_suffix = s.system_suffix;
  f.user_prefix = s.user_prefix;
  f.user_suffix = s.user_suffix;
  f.assistant_prefix = s.assistant_prefix;
  f.assistant_suffix = s.assistant_suffix;
  f.generation_prompt = s.generation_prompt;
  f.system = s.system;
  f.has_default_system = s.has_default_system;
  f.default_system = s.default_system;
  f.trim = s.trim;
  f.stop_strings.assign(s.stop_strings.begin(), s.stop_strings.end());
  f.stop_ids = s.stop_ids;
  f.template_text = s.template_text;
  return f;
}

void resolve_stops(const Tokenizer& tokenizer, ChatFormat& chat) {
  std::erase_if(chat.stop_strings, [&](const std::string& s) {
    for (const auto& t : tokenizer.view().added_tokens) {
      if (t.content != s) continue;
      chat.stop_ids.push_back(t.id);
      return true;
    }
    return false;
  });
}

Result<std::string> render_chat(const ChatFormat& f, std::span<const ChatMessage> messages,
                                bool add_generation_prompt) {
  if (f.kind == ChatKind::none || f.kind == ChatKind::unknown) {
    return fail(Code::unsupported,
                f.kind == ChatKind::none ? "this model brings no chat template"
                                         : "this model's chat template is not known to minnow",
                "; choose a chat format by name, such as chatml");
  }
  std::string out = f.begin;
  const auto content_of = [&](const ChatMessage& m) { return f.trim ? trimmed(m.content) : m.content; };
  const bool brings_system = !messages.empty() && messages.front().role == "system";
  std::string into_user;  // the system message, waiting for the first user turn
  if (f.has_default_system && !brings_system && f.system == ChatSystem::own_turn) {
    out += cat(f.system_prefix, f.default_system, f.system_suffix);
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    const ChatMessage& m = messages[i];
    if (m.role == "system") {
      if (f.system == ChatSystem::none) {
        return fail(Code::invalid_argument, "the chat format '", f.name, "' has no system message");
      }
      if (f.system == ChatSystem::own_turn) {
        out += cat(f.system_prefix, content_of(m), f.system_suffix);
      } else if (i == 0) {
        into_user = cat(f.system_prefix, m.content, f.system_suffix);
      } else {
        return fail(Code::invalid_argument, "message ", i, " is a system message; the chat format '", f.name,
                    "' takes one only at the beginning");
      }
    } else if (m.role == "user") {
      out += f.user_prefix;
      // Llama 2 trims the two together, Gemma the user's part only.
      const bool together = !f.system_prefix.empty() && !into_user.empty();
      const std::string whole = cat(into_user, together ? m.content : content_of(m));
      out += together && f.trim ? trimmed(whole) : std::string_view(whole);
      out += f.user_suffix;
      into_user.clear();
    } else if (m.role == "assistant") {
      out += cat(f.assistant_prefix, content_of(m), f.assistant_suffix);
    } else {
      return fail(Code::invalid_argument, "message ", i, " has the role '", m.role,
                  "'; known are system, user and assistant");
    }
  }
  if (!into_user.empty()) {
    return fail(Code::invalid_argument, "the chat format '", f.name,
                "' puts the system message into a user turn, but no user message follows");
  }
  if (add_generation_prompt) out += f.generation_prompt;
  return out;
}

}  // namespace minnow::text
