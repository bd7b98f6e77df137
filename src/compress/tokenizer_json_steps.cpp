#include "compress/tokenizer_json_steps.h"

namespace minnow::compress {
namespace {

using format::DecoderKind;
using format::NormalizerKind;
using format::PrependScheme;
using format::PreTokenizerKind;
using format::SplitBehavior;

constexpr int kMaxDepth = 8;  // Sequences inside Sequences

Status refused(std::string_view part, std::string_view what) {
  return fail(Code::unsupported, "tokenizer.json: ", part, " '", what, "' is not supported by minnow");
}

/// Calls `one` for every step of a value that may be a Sequence of steps under `list_key`.
template <typename F>
Status each_step(const Json& json, std::string_view part, std::string_view list_key, F&& one, int depth = 0) {
  if (depth > kMaxDepth) return refused(part, "Sequence nested too deeply");
  const std::string type = string_or(json, "type", "");
  if (type != "Sequence") return one(json, type);
  const Json* list = member(json, list_key);
  if (list == nullptr || !list->is_array()) {
    return fail(Code::corrupt, "tokenizer.json: the ", part, " Sequence has no list '", list_key, "'");
  }
  for (const Json& step : *list) MINNOW_TRY(each_step(step, part, list_key, one, depth + 1));
  return {};
}

struct Pattern {
  std::string text;
  bool regex = false;
};

Result<Pattern> pattern_of(const Json& json, std::string_view part) {
  const Json* p = member(json, "pattern");
  if (p != nullptr && p->is_string() && !p->get_ref<const std::string&>().empty()) {
    return Pattern{p->get<std::string>(), false};
  }
  if (p != nullptr) {
    if (const Json* s = member(*p, "String");
        s != nullptr && s->is_string() && !s->get_ref<const std::string&>().empty()) {
      return Pattern{s->get<std::string>(), false};
    }
    if (const Json* r = member(*p, "Regex");
        r != nullptr && r->is_string() && !r->get_ref<const std::string&>().empty()) {
      return Pattern{r->get<std::string>(), true};
    }
  }
  return fail(Code::corrupt, "tokenizer.json: a ", part, " step has no pattern (String or Regex)");
}

Result<SplitBehavior> behavior_of(const Json& json, std::string_view otherwise) {
  const std::string b = string_or(json, "behavior", otherwise);
  if (b == "Removed") return SplitBehavior::removed;
  if (b == "Isolated") return SplitBehavior::isolated;
  if (b == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (b == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (b == "Contiguous") return SplitBehavior::contiguous;
  return refused("split behavior", b);
}

/// Old files say add_prefix_space where newer ones say prepend_scheme.
Result<PrependScheme> scheme_of(const Json& json) {
  const std::string s =
      string_or(json, "prepend_scheme", bool_or(json, "add_prefix_space", true) ? "always" : "never");
  if (s == "always") return PrependScheme::always;
  if (s == "first") return PrependScheme::first;
  if (s == "never") return PrependScheme::never;
  return refused("prepend_scheme", s);
}

std::string mark_of(const Json& json) {
  return string_or(json, "replacement", string_or(json, "str_rep", "\xE2\x96\x81"));
}

uint32_t count_of(const Json& json, std::string_view key) {
  const Json* m = member(json, key);
  return m != nullptr && m->is_number_unsigned()
             ? static_cast<uint32_t>(std::min<uint64_t>(m->get<uint64_t>(), 1u << 20))
             : 0;
}

Status add_template(const Json& json, format::TokenizerData& d) {
  const Json* single = member(json, "single");
  const Json* specials = member(json, "special_tokens");
  if (single == nullptr || !single->is_array()) {
    return fail(Code::corrupt, "tokenizer.json: TemplateProcessing has no list 'single'");
  }
  bool after = false;
  for (const Json& item : *single) {
    if (member(item, "Sequence") != nullptr) {
      if (after) return refused("post_processor", "TemplateProcessing with the sequence twice");
      after = true;
      continue;
    }
    const Json* special = member(item, "SpecialToken");
    const std::string name = special == nullptr ? "" : string_or(*special, "id", "");
    const Json* entry = specials == nullptr ? nullptr : member(*specials, name);
    const Json* ids = entry == nullptr ? nullptr : member(*entry, "ids");
    if (ids == nullptr || !ids->is_array()) {
      return fail(Code::corrupt, "tokenizer.json: the post_processor uses '", name,
                  "', which it does not define");
    }
    for (const Json& id : *ids) {
      MINNOW_ASSIGN(const int64_t v, integer_in(id, 0, int64_t{d.size()} - 1, cat("the id of '", name, "'")));
      (after ? d.suffix_ids : d.prefix_ids).push_back(static_cast<uint32_t>(v));
    }
  }
  return {};
}

Status add_pair(const Json& json, std::string_view key, format::TokenizerData& d,
                std::vector<uint32_t>& out) {
  const Json* pair = member(json, key);
  if (pair == nullptr || !pair->is_array() || pair->size() != 2) {
    return fail(Code::corrupt, "tokenizer.json: the post_processor has no '", key, "'");
  }
  MINNOW_ASSIGN(const int64_t v,
                integer_in((*pair)[1], 0, int64_t{d.size()} - 1, cat("the id of '", key, "'")));
  out.push_back(static_cast<uint32_t>(v));
  return {};
}

}  // namespace

Status import_normalizer(const Json& json, format::TokenizerData& d) {
  return each_step(json, "normalizer", "normalizers", [&](const Json& s, const std::string& type) -> Status {
    const auto plain = [&](NormalizerKind kind) {
      d.normalizer.push_back({kind, {}, {}, false, false});
      return Status();
    };
    if (type == "NFC") return plain(NormalizerKind::nfc);
    if (type == "NFD") return plain(NormalizerKind::nfd);
    if (type == "NFKC") return plain(NormalizerKind::nfkc);
    if (type == "NFKD") return plain(NormalizerKind::nfkd);
    if (type == "Lowercase") return plain(NormalizerKind::lowercase);
    if (type == "StripAccents") return plain(NormalizerKind::strip_accents);
    if (type == "Strip") {
      d.normalizer.push_back(
          {NormalizerKind::strip, {}, {}, bool_or(s, "strip_left", true), bool_or(s, "strip_right", true)});
      return {};
    }
    if (type == "Prepend") {
      d.normalizer.push_back({NormalizerKind::prepend, {}, string_or(s, "prepend", ""), false, false});
      return {};
    }
    if (type == "Replace") {
      MINNOW_ASSIGN(Pattern p, pattern_of(s, "normalizer"));
      d.normalizer.push_back({p.regex ? NormalizerKind::replace_regex : NormalizerKind::replace_string,
                              std::move(p.text), string_or(s, "content", ""), false, false});
      return {};
    }
    return refused("normalizer", type);
  });
}

Status import_pre_tokenizer(const Json& json, format::TokenizerData& d) {
  return each_step(
      json, "pre_tokenizer", "pretokenizers", [&](const Json& s, const std::string& type) -> Status {
        format::PreTokenizerStep<std::string> step;
        if (type == "ByteLevel") {
          if (d.byte_level) return refused("pre_tokenizer", "ByteLevel twice");
          d.byte_level = true;
          step.kind = PreTokenizerKind::byte_level;
          step.add_prefix_space = bool_or(s, "add_prefix_space", true);
          step.use_regex = bool_or(s, "use_regex", true);
        } else if (type == "Split") {
          MINNOW_ASSIGN(Pattern p, pattern_of(s, "pre_tokenizer"));
          step.kind = p.regex ? PreTokenizerKind::split_regex : PreTokenizerKind::split_string;
          step.pattern = std::move(p.text);
          MINNOW_ASSIGN(step.behavior, behavior_of(s, "Isolated"));
          step.invert = bool_or(s, "invert", false);
        } else if (type == "CharDelimiterSplit") {
          step.kind = PreTokenizerKind::split_string;
          step.pattern = string_or(s, "delimiter", "");
          if (step.pattern.empty())
            return fail(Code::corrupt, "tokenizer.json: CharDelimiterSplit has no delimiter");
          step.behavior = SplitBehavior::removed;
        } else if (type == "Digits") {
          step.kind = PreTokenizerKind::digits;
          step.behavior =
              bool_or(s, "individual_digits", false) ? SplitBehavior::isolated : SplitBehavior::contiguous;
        } else if (type == "Metaspace") {
          step.kind = PreTokenizerKind::metaspace;
          step.pattern = mark_of(s);
          MINNOW_ASSIGN(step.prepend_scheme, scheme_of(s));
          step.split = bool_or(s, "split", true);
        } else if (type == "Whitespace") {
          step.kind = PreTokenizerKind::whitespace;
        } else if (type == "WhitespaceSplit") {
          step.kind = PreTokenizerKind::whitespace_split;
        } else if (type == "Punctuation") {
          step.kind = PreTokenizerKind::punctuation;
          MINNOW_ASSIGN(step.behavior, behavior_of(s, "Isolated"));
        } else {
          return refused("pre_tokenizer", type);
        }
        d.pre_tokenizer.push_back(std::move(step));
        return {};
      });
}

Status import_decoder(const Json& json, format::TokenizerData& d) {
  return each_step(json, "decoder", "decoders", [&](const Json& s, const std::string& type) -> Status {
    format::DecoderStep<std::string> step;
    if (type == "ByteLevel") {
      step.kind = DecoderKind::byte_level;
    } else if (type == "Metaspace") {
      step.kind = DecoderKind::metaspace;
      step.pattern = mark_of(s);
      MINNOW_ASSIGN(step.prepend_scheme, scheme_of(s));
    } else if (type == "ByteFallback") {
      step.kind = DecoderKind::byte_fallback;
    } else if (type == "Fuse") {
      step.kind = DecoderKind::fuse;
    } else if (type == "Strip") {
      step.kind = DecoderKind::strip;
      step.pattern = string_or(s, "content", " ");
      step.start = count_of(s, "start");
      step.stop = count_of(s, "stop");
    } else if (type == "Replace") {
      MINNOW_ASSIGN(Pattern p, pattern_of(s, "decoder"));
      if (p.regex) return refused("decoder", "Replace with a Regex");
      step.kind = DecoderKind::replace;
      step.pattern = std::move(p.text);
      step.content = string_or(s, "content", "");
    } else {
      return refused("decoder", type);
    }
    d.decoder.push_back(std::move(step));
    return {};
  });
}

Status import_post_processor(const Json& json, format::TokenizerData& d) {
  return each_step(json, "post_processor", "processors",
                   [&](const Json& s, const std::string& type) -> Status {
                     if (type == "ByteLevel") return {};  // it only corrects offsets
                     if (type == "TemplateProcessing") return add_template(s, d);
                     if (type == "RobertaProcessing" || type == "BertProcessing") {
                       MINNOW_TRY(add_pair(s, "cls", d, d.prefix_ids));
                       return add_pair(s, "sep", d, d.suffix_ids);
                     }
                     return refused("post_processor", type);
                   });
}

}  // namespace minnow::compress
