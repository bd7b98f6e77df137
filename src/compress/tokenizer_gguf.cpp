#include "compress/tokenizer_gguf.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "text/byte_alphabet.h"
#include "text/utf8.h"

namespace minnow::compress {
namespace {

using format::DecoderKind;
using format::NormalizerKind;
using format::PreTokenizerKind;
using format::SplitBehavior;

constexpr std::string_view kMark = "\xE2\x96\x81";  // U+2581
constexpr int64_t kUnknown = 2, kControl = 3, kUserDefined = 4;

constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// The ideographs, kana and hangul of DeepSeek's tokenizers.
constexpr std::string_view kDeepseekCjk = R"([\x{4e00}-\x{9fa5}\x{0800}-\x{4e00}\x{ac00}-\x{d7ff}]+)";

/// What a value of tokenizer.ggml.pre stands for: the splits in order, and two flags.
struct PreType {
  std::string_view name;
  std::vector<std::string_view> splits;
  bool nfc = false;
  bool ignore_merges = false;
  bool add_bos = false;
};

const std::vector<PreType>& pre_types() {
  static const std::vector<PreType> kTypes = {
      {"gpt-2", {kGpt2}},
      {"phi-2", {kGpt2}},
      {"mpt", {kGpt2}},
      {"olmo", {kGpt2}},
      {"llama-bpe", {kLlama3}, false, true, true},
      {"llama3", {kLlama3}, false, true, true},
      {"llama-v3", {kLlama3}, false, true, true},
      {"dbrx", {kLlama3}},
      {"smaug-bpe", {kLlama3}},
      {"qwen2", {kQwen2}, true},
      {"deepseek-r1-qwen", {kQwen2}, true},
      {"stablelm2", {kQwen2}},
      {"smollm", {R"(\p{N})", kGpt2}},
      {"starcoder", {R"(\p{N})", kGpt2}},
      {"refact", {R"(\p{N})", kGpt2}},
      {"command-r", {R"(\p{N})", kGpt2}, true},
      {"codeshell", {R"(\p{N})", kGpt2}},
      {"falcon", {R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2, "[0-9][0-9][0-9]"}},
      {"deepseek-coder", {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", kDeepseekCjk, R"(\p{N})"}},
      {"tekken", {kTekken}, false, true, true},
      {"gpt-4o", {kGpt4o}},
      {"llama4", {kGpt4o}, false, true, true},
      // What llama.cpp does for files that say no more than this.
      {"default", {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2, R"(\p{N}+)", "[0-9][0-9][0-9]"}},
  };
  return kTypes;
}

/// Optional keys: a default where absent, an error where of the wrong type.
Result<bool> flag(const GgufReader& g, std::string_view key, bool otherwise) {
  if (!g.has(key)) return otherwise;
  return g.boolean(key);
}

Result<int32_t> special_id(const GgufReader& g, std::string_view key, const format::TokenizerData& d,
                           std::vector<std::string>& warnings) {
  if (!g.has(key)) return -1;
  MINNOW_ASSIGN(const int64_t id, g.integer(key));
  if (id >= 0 && id < static_cast<int64_t>(d.size())) return static_cast<int32_t>(id);
  if (id != -1 && id != static_cast<int64_t>(UINT32_MAX)) {
    warnings.push_back(cat(key, " names token ", id, ", which does not exist; it is ignored"));
  }
  return -1;
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

/// llama.cpp lets most specials of Phi-3 swallow the white space after them, as its tokenizer.json does.
bool swallows_space(const std::string& model_name, std::string_view token, bool added) {
  if (!contains(model_name, "phi-3") && !contains(model_name, "phi3")) return false;
  if (token == "<unk>" || token == "<s>" || token == "<|endoftext|>") return false;
  return added || token == "</s>";
}

Status add_tokens(const GgufReader& g, bool byte_level, format::TokenizerData& d) {
  MINNOW_ASSIGN(const auto tokens, g.strings("tokenizer.ggml.tokens"));
  std::vector<int64_t> types(tokens.size(), 1);
  if (g.has("tokenizer.ggml.token_type")) {
    MINNOW_ASSIGN(types, g.integers("tokenizer.ggml.token_type"));
  }
  if (types.size() != tokens.size()) {
    return fail(Code::corrupt, "GGUF: ", types.size(), " token types for ", tokens.size(), " tokens");
  }
  std::string name;
  if (const auto stated = g.string("general.name"); stated.ok()) name = *stated;
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });

  for (size_t id = 0; id < tokens.size(); ++id) {
    const std::string_view token = tokens[id];
    const bool added = types[id] == kUnknown || types[id] == kControl || types[id] == kUserDefined;
    if (added && !token.empty()) {
      if (text::find_invalid_utf8(token) != std::string_view::npos) {
        return fail(Code::corrupt, "GGUF: the special token ", id, " is not UTF-8");
      }
      const std::string content(token);
      d.added_tokens.push_back({static_cast<uint32_t>(id), content, content, types[id] != kUserDefined, false,
                                swallows_space(name, token, added), false, false});
    }
    auto bytes = byte_level && !added ? text::from_byte_alphabet(token) : std::nullopt;
    const bool findable = !byte_level || bytes.has_value();
    d.add_token(bytes ? std::string_view(*bytes) : token, findable);
  }
  return {};
}

Status import_merges(const GgufReader& g, format::TokenizerData& d) {
  MINNOW_ASSIGN(const auto tokens, g.strings("tokenizer.ggml.tokens"));
  MINNOW_ASSIGN(const auto lines, g.strings("tokenizer.ggml.merges"));
  std::unordered_map<std::string_view, uint32_t> ids;
  ids.reserve(tokens.size());
  for (uint32_t id = 0; id < tokens.size(); ++id) ids.insert_or_assign(tokens[id], id);
  d.merges.reserve(lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    // A token may itself begin with a space, so the search starts behind the first byte.
    const size_t space = lines[i].find(' ', 1);
    const auto end = ids.end();
    auto l = end, r = end, result = end;
    if (space != std::string_view::npos) {
      l = ids.find(lines[i].substr(0, space));
      r = ids.find(lines[i].substr(space + 1));
      result = ids.find(cat(lines[i].substr(0, space), lines[i].substr(space + 1)));
    }
    if (l == end || r == end || result == end) {
      return fail(Code::corrupt, "GGUF: merge ", i, " of tokenizer.ggml.merges ('", lines[i],
                  "') is malformed or needs a token that the vocabulary lacks");
    }
    d.merges.push_back({l->second, r->second, result->second});
  }
  return {};
}

Status import_gpt2(const GgufReader& g, format::TokenizerData& d, bool* add_bos) {
  if (!g.has("tokenizer.ggml.pre")) {
    return fail(
        Code::unsupported,
        "GGUF: tokenizer.ggml.pre is missing, so it is not known how this model splits text; convert the "
        "model again with a current converter");
  }
  MINNOW_ASSIGN(const std::string_view pre, g.string("tokenizer.ggml.pre"));
  const auto& types = pre_types();
  const auto type = std::find_if(types.begin(), types.end(), [&](const PreType& t) { return t.name == pre; });
  if (type == types.end()) {
    return fail(Code::unsupported, "GGUF: the pre-tokenizer '", pre,
                "' is not supported; import the model from its Hugging Face directory instead");
  }
  d.byte_level = true;
  d.ignore_merges = type->ignore_merges;
  *add_bos = type->add_bos;
  if (type->nfc) d.normalizer.push_back({NormalizerKind::nfc, {}, {}, false, false});
  for (const std::string_view pattern : type->splits) {
    format::PreTokenizerStep<std::string> step;
    step.kind = PreTokenizerKind::split_regex;
    step.pattern = pattern;
    step.behavior = SplitBehavior::isolated;
    d.pre_tokenizer.push_back(std::move(step));
  }
  d.decoder.push_back({.kind = DecoderKind::byte_level});
  MINNOW_TRY(add_tokens(g, true, d));
  find_byte_ids(d);
  return import_merges(g, d);
}

Status import_llama(const GgufReader& g, format::TokenizerData& d) {
  d.kind = format::TokenizerKind::spm_scores;
  d.byte_fallback = true;
  MINNOW_ASSIGN(const bool space_prefix, flag(g, "tokenizer.ggml.add_space_prefix", true));
  if (space_prefix) d.normalizer.push_back({NormalizerKind::prepend, {}, std::string(kMark), false, false});
  d.normalizer.push_back({NormalizerKind::replace_string, " ", std::string(kMark), false, false});
  d.decoder.push_back({.kind = DecoderKind::replace, .pattern = std::string(kMark), .content = " "});
  d.decoder.push_back({.kind = DecoderKind::byte_fallback});
  d.decoder.push_back({.kind = DecoderKind::fuse});
  if (space_prefix) d.decoder.push_back({.kind = DecoderKind::strip, .pattern = " ", .start = 1});
  MINNOW_TRY(add_tokens(g, false, d));
  find_byte_ids(d);
  MINNOW_ASSIGN(d.token_scores, g.floats("tokenizer.ggml.scores"));
  if (d.token_scores.size() != d.size()) {
    return fail(Code::corrupt, "GGUF: ", d.token_scores.size(), " token scores for ", d.size(), " tokens");
  }
  if (std::any_of(d.token_scores.begin(), d.token_scores.end(), [](float s) { return std::isnan(s); })) {
    return fail(Code::corrupt, "GGUF: a score of tokenizer.ggml.scores is not a number");
  }
  return {};
}

/// Tokens that end a turn in models whose files name only one EOS.
bool ends_generation(std::string_view token) {
  constexpr std::string_view kEnds[] = {"<|eot_id|>",    "<|im_end|>",      "<|end|>",
                                        "<end_of_turn>", "<|endoftext|>",   "<|eom_id|>",
                                        "<EOT>",         "<|end_of_text|>", "<|return|>"};
  return std::find(std::begin(kEnds), std::end(kEnds), token) != std::end(kEnds);
}

}  // namespace

Result<ImportedTokenizer> import_tokenizer_gguf(const GgufReader& g) {
  ImportedTokenizer imported;
  format::TokenizerData& d = imported.data;
  MINNOW_ASSIGN(const std::string_view model, g.string("tokenizer.ggml.model"));
  bool add_bos = false;
  if (model == "llama") {
    add_bos = true;
    MINNOW_TRY(import_llama(g, d));
  } else if (model == "gpt2") {
    MINNOW_TRY(import_gpt2(g, d, &add_bos));
  } else {
    return fail(Code::unsupported, "GGUF: the tokenizer model '", model,
                "' is not supported; minnow has 'llama' and 'gpt2'");
  }
  MINNOW_ASSIGN(d.bos_id, special_id(g, "tokenizer.ggml.bos_token_id", d, imported.warnings));
  MINNOW_ASSIGN(d.eos_id, special_id(g, "tokenizer.ggml.eos_token_id", d, imported.warnings));
  MINNOW_ASSIGN(d.pad_id, special_id(g, "tokenizer.ggml.padding_token_id", d, imported.warnings));
  MINNOW_ASSIGN(d.unk_id, special_id(g, "tokenizer.ggml.unknown_token_id", d, imported.warnings));
  MINNOW_ASSIGN(d.add_bos, flag(g, "tokenizer.ggml.add_bos_token", add_bos));
  MINNOW_ASSIGN(const bool add_eos, flag(g, "tokenizer.ggml.add_eos_token", false));
  d.add_bos = d.add_bos && d.bos_id >= 0;
  if (d.add_bos) d.prefix_ids.push_back(static_cast<uint32_t>(d.bos_id));
  if (add_eos && d.eos_id >= 0) d.suffix_ids.push_back(static_cast<uint32_t>(d.eos_id));
  MINNOW_TRY(normalise_added_tokens(d));

  for (const std::string_view key : {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    MINNOW_ASSIGN(const int32_t id, special_id(g, key, d, imported.warnings));
    if (id >= 0) add_end_id(id, key, imported);
  }
  for (const auto& t : d.added_tokens) {
    if (t.special && ends_generation(t.content)) add_end_id(t.id, "a special token", imported);
  }
  std::string_view chat;
  if (g.has("tokenizer.chat_template")) {
    MINNOW_ASSIGN(chat, g.string("tokenizer.chat_template"));
  }
  finish_chat(chat, imported);
  return imported;
}

}  // namespace minnow::compress
