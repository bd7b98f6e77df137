// Expected renderings written by hand from the public templates.
#include "text/chat_format.h"

#include <gtest/gtest.h>

namespace minnow::text {
namespace {

using format::ChatKind;

const std::vector<ChatMessage> kTwoTurns = {{"user", "Hi"}, {"assistant", "Hello"}, {"user", "Bye"}};
const std::vector<ChatMessage> kWithSystem = {{"system", "Be brief."}, {"user", "Hi"}};

std::string render(const ChatFormat& f, const std::vector<ChatMessage>& m) {
  auto r = render_chat(f, m, true);
  EXPECT_TRUE(r.ok()) << r.status().message();
  return r.ok() ? *r : "";
}

ChatFormat recognised(std::string_view text, std::string_view bos, std::string_view eos, ChatKind kind) {
  RecognisedChat r = recognise_chat(text, bos, eos);
  EXPECT_EQ(r.format.kind, kind);
  EXPECT_EQ(r.format.template_text, text);
  return r.format;
}

TEST(Chat, ChatMl) {
  const ChatFormat f = recognised(
      "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + "
      "'<|im_end|>' + "
      "'\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
      "<|endoftext|>", "<|im_end|>", ChatKind::chatml);
  EXPECT_EQ(render(f, kTwoTurns),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nBye<|"
            "im_end|>\n"
            "<|im_start|>assistant\n");
  EXPECT_EQ(f.stop_strings, std::vector<std::string>{"<|im_end|>"});
  EXPECT_FALSE(f.has_default_system);
}

TEST(Chat, Qwen25DefaultSystem) {
  const ChatFormat f = recognised(
      "{%- if tools %}\n    {{- '<|im_start|>system\\n' }}\n    {%- if messages[0]['role'] == 'system' %}\n"
      "        {{- messages[0]['content'] }}\n    {%- else %}\n        {{- 'You are Qwen, created by Alibaba "
      "Cloud. "
      "You are a helpful assistant.' }}\n    {%- endif %}\n{%- else %}\n    {%- if messages[0]['role'] == "
      "'system' "
      "%}\n        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}\n    {%- else "
      "%}\n"
      "        {{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
      "assistant.<|im_end|>\\n' }}\n    {%- endif %}\n{%- endif %}\n",
      "", "<|im_end|>", ChatKind::chatml);
  EXPECT_EQ(
      render(f, {{"user", "Hi"}}),
      "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
      "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(
      render(f, kWithSystem),
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(Chat, Llama2) {
  const ChatFormat f = recognised(
      "{% if messages[0]['role'] == 'system' %}{% set system_message = messages[0]['content'] %}{% endif %}"
      "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
      "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{{ ' '  + content.strip() + ' ' + eos_token "
      "}}",
      "<s>", "</s>", ChatKind::llama2);
  EXPECT_EQ(render(f, kTwoTurns), "<s>[INST] Hi [/INST] Hello </s><s>[INST] Bye [/INST]");
  EXPECT_EQ(render(f, kWithSystem), "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST]");
}

TEST(Chat, Llama3) {
  const ChatFormat f = recognised(
      "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ "
      "message['content'] | trim "
      "+ '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ "
      "content }}",
      "<|begin_of_text|>", "<|end_of_text|>", ChatKind::llama3);
  EXPECT_EQ(render(f, {{"system", " Be brief.\n"}, {"user", "Hi "}}),
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe "
            "brief.<|eot_id|><|start_header_id|>user"
            "<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n");
}

TEST(Chat, Llama31WritesItsDates) {
  const ChatFormat f = recognised(
      "{{- bos_token }}{{- \"<|start_header_id|>system<|end_header_id|>\\n\\n\" }}{{- \"Cutting Knowledge "
      "Date: "
      "December 2023\\n\" }}{{- \"Today Date: \" + date_string + \"\\n\\n\" }}{{- system_message }}{{- "
      "\"<|eot_id|>\" "
      "}}",
      "<|begin_of_text|>", "<|eot_id|>", ChatKind::llama3);
  EXPECT_EQ(
      render(f, {{"user", "Hi"}}),
      "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December "
      "2023\nToday Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
      "<|start_header_id|>assistant<|end_header_id|>\n\n");
}

TEST(Chat, Gemma) {
  const ChatFormat f = recognised(
      "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first_user_prefix = "
      "messages[0]['content'] + "
      "'\\n\\n' %}{% endif %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + "
      "'<end_of_turn>\\n' }}",
      "<bos>", "<eos>", ChatKind::gemma);
  EXPECT_EQ(render(f, kTwoTurns),
            "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n<start_of_"
            "turn>user\n"
            "Bye<end_of_turn>\n<start_of_turn>model\n");
  EXPECT_EQ(render(f, kWithSystem),
            "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\n");
}

TEST(Chat, Gemma2HasNoSystem) {
  const ChatFormat f = recognised(
      "{{ bos_token }}{{ raise_exception('System role not supported') }}<start_of_turn><end_of_turn>",
      "<bos>", "<eos>", ChatKind::gemma);
  EXPECT_EQ(render_chat(f, kWithSystem, true).status().code(), Code::invalid_argument);
}

TEST(Chat, Phi3) {
  const ChatFormat f = recognised(
      "{{ bos_token }}{% for message in messages %}{{'<|user|>' + '\\n' + message['content'] + '<|end|>' + "
      "'\\n' + "
      "'<|assistant|>' + '\\n'}}{% endfor %}",
      "<s>", "<|endoftext|>", ChatKind::phi3);
  EXPECT_EQ(render(f, kWithSystem), "<s><|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\n");
}

TEST(Chat, Phi4MiniHasNoLineEnds) {
  const ChatFormat f = recognised(
      "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% "
      "endfor %}"
      "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
      "<|endoftext|>", "<|endoftext|>", ChatKind::phi3);
  EXPECT_EQ(render(f, kWithSystem), "<|system|>Be brief.<|end|><|user|>Hi<|end|><|assistant|>");
}

TEST(Chat, Phi4) {
  const ChatFormat f = recognised(
      "{% for message in messages %}{{'<|im_start|>user<|im_sep|>' + message['content'] + '<|im_end|>'}}{% "
      "endfor %}",
      "", "<|im_end|>", ChatKind::phi4);
  EXPECT_EQ(render(f, {{"user", "Hi"}}),
            "<|im_start|>user<|im_sep|>Hi<|im_end|><|im_start|>assistant<|im_sep|>");
}

TEST(Chat, MistralSpacings) {
  const ChatFormat v1 = recognised(
      "{{- bos_token }}{{- ' [INST] ' + system_message + '\\n\\n' + message['content'] + ' [/INST]' }}{{- ' "
      "' + "
      "message['content'] + eos_token}}",
      "<s>", "</s>", ChatKind::mistral);
  EXPECT_EQ(render(v1, kTwoTurns), "<s> [INST] Hi [/INST] Hello</s> [INST] Bye [/INST]");
  const ChatFormat v02 = recognised(
      "{{ bos_token }}{{ '[INST] ' + message['content'] + ' [/INST]' }}{{ message['content'] + eos_token}}",
      "<s>", "</s>", ChatKind::mistral);
  EXPECT_EQ(render(v02, kTwoTurns), "<s>[INST] Hi [/INST]Hello</s>[INST] Bye [/INST]");
  const ChatFormat v3 = recognised(
      "{{- bos_token }}{{- \"[INST] \" + system_message + \"\\n\\n\" + message[\"content\"] + \"[/INST]\" "
      "}}{{- \" \" + "
      "message[\"content\"]|trim + eos_token}}",
      "<s>", "</s>", ChatKind::mistral);
  EXPECT_EQ(render(v3, kTwoTurns), "<s>[INST] Hi[/INST] Hello</s>[INST] Bye[/INST]");
  EXPECT_EQ(render(v3, kWithSystem), "<s>[INST] Be brief.\n\nHi[/INST]");
  const ChatFormat tekken = recognised(
      "{{- bos_token }}{{- \"[INST]\" + system_message + message[\"content\"] + \"[/INST]\" }}{{- "
      "message[\"content\"] "
      "+ eos_token}}",
      "<s>", "</s>", ChatKind::mistral);
  EXPECT_EQ(render(tekken, kTwoTurns), "<s>[INST]Hi[/INST]Hello</s>[INST]Bye[/INST]");
}

TEST(Chat, Zephyr) {
  const ChatFormat f = recognised(
      "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\\n' + "
      "message['content'] + "
      "eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\\n'  + message['content'] "
      "+ "
      "eos_token }}\n{% endif %}\n{% endfor %}",
      "<s>", "</s>", ChatKind::zephyr);
  EXPECT_EQ(render(f, kWithSystem), "<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\n");
}

TEST(Chat, Granite) {
  const ChatFormat f =
      recognised("{{- '<|start_of_role|>system<|end_of_role|>' + system_message + '<|end_of_text|>\\n' }}",
                 "<|end_of_text|>", "<|end_of_text|>", ChatKind::granite);
  EXPECT_EQ(
      render(f, kWithSystem),
      "<|start_of_role|>system<|end_of_role|>Be brief.<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>Hi"
      "<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>");
}

TEST(Chat, UnknownIsKeptAndReported) {
  const RecognisedChat r = recognise_chat("{{ 'Human: ' + x }}", "<s>", "</s>");
  EXPECT_EQ(r.format.kind, ChatKind::unknown);
  EXPECT_EQ(r.format.template_text, "{{ 'Human: ' + x }}");
  EXPECT_FALSE(r.warning.empty());
  EXPECT_EQ(render_chat(r.format, kTwoTurns, true).status().code(), Code::unsupported);
  EXPECT_EQ(render_chat(ChatFormat{}, kTwoTurns, true).status().code(), Code::unsupported);
}

TEST(Chat, ByName) {
  for (const char* name : {"chatml", "llama2", "llama3", "gemma", "phi3", "phi4", "mistral-v1", "mistral-v3",
                           "mistral-tekken", "mistral-v7", "zephyr", "granite"}) {
    const auto f = chat_format_by_name(name);
    ASSERT_TRUE(f.ok()) << name;
    EXPECT_EQ(f->name, name);
    EXPECT_FALSE(render(*f, kTwoTurns).empty());
  }
  EXPECT_EQ(chat_format_by_name("nonsense").status().code(), Code::not_found);
}

TEST(Chat, BadConversations) {
  const ChatFormat f = *chat_format_by_name("gemma");
  EXPECT_FALSE(render_chat(f, std::vector<ChatMessage>{{"tool", "x"}}, true).ok());
  EXPECT_FALSE(render_chat(f, std::vector<ChatMessage>{{"system", "x"}}, true).ok());
  EXPECT_FALSE(render_chat(f, std::vector<ChatMessage>{{"user", "x"}, {"system", "y"}}, true).ok());
}

}  // namespace
}  // namespace minnow::text
