// Chat formats: what stands around the messages of a conversation, as plain prefixes and suffixes.
//
// A format is recognised from a model's Jinja template when the model is imported, by the strings that
// are characteristic of it; the template itself is never run. What is not recognised keeps its text
// and the kind `unknown`: minnow then asks for a name instead of guessing.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "format/tokenizer_types.h"
#include "text/tokenizer.h"

namespace minnow::text {

using ChatFormat = format::ChatFormat<std::string>;

struct ChatMessage {
  std::string_view role;  ///< "system", "user" or "assistant"
  std::string_view content;
};

struct RecognisedChat {
  ChatFormat format;
  std::string warning;  ///< empty: recognised in full
};

/// `bos` and `eos` are the texts of those tokens, empty if the model has none.
RecognisedChat recognise_chat(std::string_view template_text, std::string_view bos, std::string_view eos);

/// A format by name: chatml, llama2, llama3, gemma, phi3, mistral-v1, mistral-v3, mistral-tekken,
/// mistral-v7, zephyr, granite, phi4. Errors: not_found, with the list.
Result<ChatFormat> chat_format_by_name(std::string_view name);

/// The format a model brings, with its strings copied.
ChatFormat copy_chat_format(const format::ChatFormat<std::string_view>& stored);

/// Moves the stop strings that are single special tokens of this tokenizer into stop_ids.
void resolve_stops(const Tokenizer& tokenizer, ChatFormat& chat);

/// The conversation as text, to be encoded with add_special = false and parse_special = true.
/// Errors: unsupported (unknown format), invalid_argument (a role or a place the format does not have).
Result<std::string> render_chat(const ChatFormat& chat, std::span<const ChatMessage> messages,
                                bool add_generation_prompt);

}  // namespace minnow::text
