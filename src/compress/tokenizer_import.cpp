#include "compress/tokenizer_import.h"

#include <algorithm>

#include "text/chat_format.h"
#include "text/decoder.h"
#include "text/normalizer.h"

namespace minnow::compress {

Status normalise_added_tokens(format::TokenizerData& d) {
  std::vector<text::Normalizer::Step> steps;
  for (const auto& s : d.normalizer) steps.push_back({s.kind, s.pattern, s.content, s.left, s.right});
  MINNOW_ASSIGN(const text::Normalizer normalizer, text::Normalizer::create(steps));
  for (auto& t : d.added_tokens) {
    t.match = t.content;
    if (t.normalized) MINNOW_TRY(normalizer.apply(t.match));
  }
  // A token that the normaliser deletes can never be met in a text.
  std::erase_if(d.added_tokens, [](const auto& t) { return t.match.empty(); });
  return {};
}

std::string token_content(const format::TokenizerData& d, int32_t id) {
  if (id < 0 || static_cast<uint32_t>(id) >= d.size()) return {};
  for (const auto& t : d.added_tokens) {
    if (t.id == static_cast<uint32_t>(id)) return t.content;
  }
  return std::string(d.token(static_cast<uint32_t>(id)));
}

void add_end_id(int64_t id, std::string_view from, ImportedTokenizer& imported) {
  format::TokenizerData& d = imported.data;
  if (id < 0 || id >= static_cast<int64_t>(d.size())) {
    imported.warnings.push_back(cat(from, " names token ", id, ", which does not exist; it is ignored"));
    return;
  }
  const auto value = static_cast<uint32_t>(id);
  if (std::find(d.end_ids.begin(), d.end_ids.end(), value) == d.end_ids.end()) d.end_ids.push_back(value);
}

void finish_chat(std::string_view template_text, ImportedTokenizer& imported) {
  format::TokenizerData& d = imported.data;
  auto recognised =
      text::recognise_chat(template_text, token_content(d, d.bos_id), token_content(d, d.eos_id));
  if (!recognised.warning.empty()) imported.warnings.push_back("chat template: " + recognised.warning);
  d.chat = std::move(recognised.format);
  if (d.eos_id >= 0) add_end_id(d.eos_id, "eos", imported);
  std::erase_if(d.chat.stop_strings, [&](const std::string& stop) {
    for (const auto& t : d.added_tokens) {
      if (t.content != stop) continue;
      d.chat.stop_ids.push_back(t.id);
      add_end_id(t.id, "the chat format", imported);
      return true;
    }
    return false;
  });
}

void find_byte_ids(format::TokenizerData& d) {
  d.byte_ids.assign(256, format::kNoToken);
  for (uint32_t id = 0; id < d.size(); ++id) {
    const std::string_view token = d.token(id);
    if (d.token_findable[id] == 0) continue;
    const int byte =
        d.byte_level ? (token.size() == 1 ? static_cast<uint8_t>(token[0]) : -1) : text::byte_of_token(token);
    if (byte >= 0) d.byte_ids[static_cast<size_t>(byte)] = id;
  }
}

}  // namespace minnow::compress
