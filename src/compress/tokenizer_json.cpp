#include "compress/tokenizer_json.h"

#include <algorithm>
#include <unordered_map>

#include "base/file.h"
#include "compress/json_access.h"
#include "compress/tokenizer_json_steps.h"
#include "text/byte_alphabet.h"

namespace minnow::compress {
namespace {

constexpr uint64_t kMaxFile = uint64_t{256} << 20;
constexpr int64_t kMaxId = (1 << 24) - 1;

using Vocabulary = std::unordered_map<std::string_view, uint32_t>;

/// Strings by id, before they are laid end to end.
struct Tokens {
  std::vector<std::string> text;
  std::vector<uint8_t> findable;

  void set(uint32_t id, std::string bytes, bool from_vocabulary) {
    if (id >= text.size()) {
      text.resize(id + 1);
      findable.resize(id + 1);
    }
    text[id] = std::move(bytes);
    if (from_vocabulary) findable[id] = 1;
  }
};

Result<Vocabulary> read_vocabulary(const Json& model) {
  const Json* vocab = member(model, "vocab");
  if (vocab == nullptr || !vocab->is_object())
    return fail(Code::corrupt, "tokenizer.json: the model has no 'vocab'");
  Vocabulary out;
  out.reserve(vocab->size());
  for (auto it = vocab->begin(); it != vocab->end(); ++it) {
    MINNOW_ASSIGN(const int64_t id,
                  integer_in(it.value(), 0, kMaxId, cat("tokenizer.json: the id of '", it.key(), "'")));
    out.emplace(it.key(), static_cast<uint32_t>(id));
  }
  return out;
}

Status read_merges(const Json& model, const Vocabulary& vocabulary, format::TokenizerData& d) {
  const Json* merges = member(model, "merges");
  if (merges == nullptr || !merges->is_array())
    return fail(Code::corrupt, "tokenizer.json: the model has no 'merges'");
  d.merges.reserve(merges->size());
  for (const Json& m : *merges) {
    std::string_view left, right;
    if (m.is_string()) {
      const std::string_view line = m.get_ref<const std::string&>();
      const size_t space = line.find(' ');
      if (space != std::string_view::npos && line.find(' ', space + 1) == std::string_view::npos) {
        left = line.substr(0, space);
        right = line.substr(space + 1);
      }
    } else if (m.is_array() && m.size() == 2 && m[0].is_string() && m[1].is_string()) {
      left = m[0].get_ref<const std::string&>();
      right = m[1].get_ref<const std::string&>();
    }
    const auto l = vocabulary.find(left), r = vocabulary.find(right);
    const auto result = vocabulary.find(cat(left, right));
    if (l == vocabulary.end() || r == vocabulary.end() || result == vocabulary.end()) {
      return fail(Code::corrupt, "tokenizer.json: merge ", d.merges.size(), " ('", left, "' + '", right,
                  "') is malformed or needs a token that the vocabulary lacks");
    }
    d.merges.push_back({l->second, r->second, result->second});
  }
  return {};
}

/// The model's flags; refuses what would change ids and is not implemented.
Status read_flags(const Json& model, const Vocabulary& vocabulary, ImportedTokenizer& imported) {
  format::TokenizerData& d = imported.data;
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const std::string value = string_or(model, key, "");
    if (!value.empty()) {
      return fail(Code::unsupported, "tokenizer.json: ", key, " '", value, "' is not supported by minnow");
    }
  }
  if (const Json* dropout = member(model, "dropout"); dropout != nullptr && *dropout != 0) {
    return fail(Code::unsupported, "tokenizer.json: dropout is set, which makes ids random; remove it");
  }
  d.fuse_unk = bool_or(model, "fuse_unk", false);
  d.byte_fallback = bool_or(model, "byte_fallback", false);
  d.ignore_merges = bool_or(model, "ignore_merges", false);
  const std::string unk = string_or(model, "unk_token", "");
  if (const auto it = vocabulary.find(unk); it != vocabulary.end()) {
    d.unk_id = static_cast<int32_t>(it->second);
  } else if (!unk.empty()) {
    imported.warnings.push_back(
        cat("unk_token '", unk, "' is not in the vocabulary; unknown characters vanish"));
  }
  return {};
}

/// A token of a byte-level vocabulary as the bytes it stands for.
std::string stored(const std::string& token, bool byte_level, bool* mappable) {
  *mappable = true;
  if (!byte_level) return token;
  auto bytes = text::from_byte_alphabet(token);
  *mappable = bytes.has_value();
  return bytes ? *std::move(bytes) : token;
}

Status read_tokens(const Json& root, const Vocabulary& vocabulary, format::TokenizerData& d) {
  Tokens tokens;
  bool mappable = false;
  for (const auto& [token, id] : vocabulary) {
    std::string bytes = stored(std::string(token), d.byte_level, &mappable);
    tokens.set(id, std::move(bytes), mappable);
  }
  if (const Json* added = member(root, "added_tokens"); added != nullptr && added->is_array()) {
    for (const Json& a : *added) {
      const Json* id = member(a, "id");
      const std::string content = string_or(a, "content", "");
      if (id == nullptr || content.empty())
        return fail(Code::corrupt, "tokenizer.json: an added token has no id or content");
      MINNOW_ASSIGN(const int64_t v,
                    integer_in(*id, 0, kMaxId, cat("tokenizer.json: the id of '", content, "'")));
      // The vocabulary's id counts where both name the token.
      const auto known = vocabulary.find(content);
      const auto token_id = known != vocabulary.end() ? known->second : static_cast<uint32_t>(v);
      tokens.set(token_id, stored(content, d.byte_level, &mappable), false);
      const bool special = bool_or(a, "special", false);
      d.added_tokens.push_back({token_id, content, content, special, bool_or(a, "lstrip", false),
                                bool_or(a, "rstrip", false), bool_or(a, "single_word", false),
                                bool_or(a, "normalized", !special)});
    }
  }
  for (size_t id = 0; id < tokens.text.size(); ++id) d.add_token(tokens.text[id], tokens.findable[id] != 0);
  return {};
}

Result<ImportedTokenizer> import_root(const Json& root) {
  ImportedTokenizer imported;
  format::TokenizerData& d = imported.data;
  const Json* model = member(root, "model");
  if (model == nullptr) return fail(Code::corrupt, "tokenizer.json: there is no 'model'");
  const std::string type = string_or(*model, "type", member(*model, "merges") != nullptr ? "BPE" : "");
  if (type != "BPE") {
    return fail(Code::unsupported, "tokenizer.json: a model of type '", type,
                "' is not supported; minnow has BPE");
  }
  MINNOW_ASSIGN(const Vocabulary vocabulary, read_vocabulary(*model));
  MINNOW_TRY(read_flags(*model, vocabulary, imported));
  if (const Json* j = member(root, "normalizer")) MINNOW_TRY(import_normalizer(*j, d));
  if (const Json* j = member(root, "pre_tokenizer")) MINNOW_TRY(import_pre_tokenizer(*j, d));
  const Json* decoder = member(root, "decoder");
  if (decoder == nullptr)
    return fail(Code::unsupported, "tokenizer.json: there is no decoder, so ids have no text");
  MINNOW_TRY(import_decoder(*decoder, d));
  MINNOW_TRY(read_tokens(root, vocabulary, d));
  MINNOW_TRY(read_merges(*model, vocabulary, d));
  if (const Json* j = member(root, "post_processor")) MINNOW_TRY(import_post_processor(*j, d));
  if (d.byte_level || d.byte_fallback) find_byte_ids(d);
  MINNOW_TRY(normalise_added_tokens(d));
  return imported;
}

/// "bos_token": a string, or an object with "content".
std::string special_text(const Json& config, std::string_view key) {
  const Json* m = member(config, key);
  if (m == nullptr) return {};
  return m->is_string() ? m->get<std::string>() : string_or(*m, "content", "");
}

int32_t find_special(const format::TokenizerData& d, const std::string& content) {
  if (content.empty()) return -1;
  for (const auto& t : d.added_tokens) {
    if (t.content == content) return static_cast<int32_t>(t.id);
  }
  bool mappable = false;
  const std::string bytes = stored(content, d.byte_level, &mappable);
  for (uint32_t id = 0; id < d.size(); ++id) {
    if (d.token_findable[id] != 0 && d.token(id) == bytes) return static_cast<int32_t>(id);
  }
  return -1;
}

/// Reads "eos_token_id" and the like: a number or a list of them.
std::vector<int64_t> id_list(const Json& config, std::string_view key) {
  std::vector<int64_t> out;
  const Json* m = member(config, key);
  if (m == nullptr) return out;
  const auto add = [&](const Json& j) {
    if (j.is_number_integer()) out.push_back(j.get<int64_t>());
  };
  if (m->is_array()) {
    for (const Json& j : *m) add(j);
  } else {
    add(*m);
  }
  return out;
}

int32_t first_id(const format::TokenizerData& d, const Json& a, const Json& b, std::string_view key) {
  for (const Json* j : {&a, &b}) {
    for (const int64_t id : id_list(*j, key)) {
      if (id >= 0 && id < static_cast<int64_t>(d.size())) return static_cast<int32_t>(id);
    }
  }
  return -1;
}

/// The classes whose add_bos_token and add_eos_token replace the template of tokenizer.json.
bool obeys_add_bos(const std::string& tokenizer_class) {
  return tokenizer_class.starts_with("Llama") || tokenizer_class.starts_with("Gemma") ||
         tokenizer_class.starts_with("CodeLlama");
}

void apply_add_flags(const Json& config, format::TokenizerData& d) {
  if (!obeys_add_bos(string_or(config, "tokenizer_class", ""))) return;
  const auto apply = [&](std::string_view key, int32_t id, std::vector<uint32_t>& ids) {
    const Json* flag = member(config, key);
    if (flag == nullptr || !flag->is_boolean()) return;
    ids.clear();
    if (flag->get<bool>() && id >= 0) ids.push_back(static_cast<uint32_t>(id));
  };
  apply("add_bos_token", d.bos_id, d.prefix_ids);
  apply("add_eos_token", d.eos_id, d.suffix_ids);
}

Result<std::string> chat_template_of(const std::string& dir, const Json& config) {
  auto file = read_text_file(dir + "/chat_template.jinja", 1 << 20);
  if (file.ok()) return std::move(file).value();
  if (file.status().code() != Code::not_found) return std::move(file).status();
  const Json* t = member(config, "chat_template");
  if (t == nullptr) return std::string();
  if (t->is_string()) return t->get<std::string>();
  std::string first;
  if (t->is_array()) {
    for (const Json& entry : *t) {
      const std::string text = string_or(entry, "template", "");
      if (string_or(entry, "name", "") == "default") return text;
      if (first.empty()) first = text;
    }
  }
  return first;
}

}  // namespace

Result<ImportedTokenizer> import_tokenizer_json_file(const std::string& path) {
  MINNOW_ASSIGN(const Json root, read_json(path, kMaxFile));
  auto imported = import_root(root);
  if (!imported.ok()) return std::move(imported).status().within(path);
  return imported;
}

Result<ImportedTokenizer> import_tokenizer_json(const std::string& dir) {
  MINNOW_ASSIGN(ImportedTokenizer imported, import_tokenizer_json_file(dir + "/tokenizer.json"));
  MINNOW_ASSIGN(const Json config, read_json_if_there(dir + "/tokenizer_config.json", kMaxFile));
  MINNOW_ASSIGN(const Json specials, read_json_if_there(dir + "/special_tokens_map.json", kMaxFile));
  MINNOW_ASSIGN(const Json generation, read_json_if_there(dir + "/generation_config.json", kMaxFile));
  MINNOW_ASSIGN(const Json model, read_json_if_there(dir + "/config.json", kMaxFile));
  format::TokenizerData& d = imported.data;

  const auto special = [&](std::string_view key) {
    int32_t id = find_special(d, special_text(config, key));
    if (id < 0) id = find_special(d, special_text(specials, key));
    return id >= 0 ? id : first_id(d, generation, model, cat(key, "_id"));
  };
  d.bos_id = special("bos_token");
  d.eos_id = special("eos_token");
  d.pad_id = special("pad_token");
  apply_add_flags(config, d);
  d.add_bos =
      d.bos_id >= 0 && !d.prefix_ids.empty() && d.prefix_ids.front() == static_cast<uint32_t>(d.bos_id);
  for (const int64_t id : id_list(generation, "eos_token_id"))
    add_end_id(id, "generation_config.json", imported);
  for (const int64_t id : id_list(model, "eos_token_id")) add_end_id(id, "config.json", imported);
  MINNOW_ASSIGN(const std::string chat, chat_template_of(dir, config));
  finish_chat(chat, imported);
  return imported;
}

}  // namespace minnow::compress
