#include "text/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>

#include "text/utf8.h"

namespace minnow::text {
namespace {

using format::NormalizerKind;

// A replacement that grows the text at every step of a long list is no tokenizer.
constexpr size_t kMaxText = size_t{1} << 30;

/// Below U+0300 nothing decomposes canonically into what NFC would not restore, and nothing combines;
/// every such character's bytes are below 0xCC.
bool is_trivially_nfc(std::string_view s) {
  return std::all_of(s.begin(), s.end(), [](char c) { return static_cast<uint8_t>(c) < 0xCC; });
}

bool is_ascii(std::string_view s) {
  return std::all_of(s.begin(), s.end(), [](char c) { return static_cast<uint8_t>(c) < 0x80; });
}

Status unicode_form(std::string& text, NormalizerKind kind) {
  if (kind == NormalizerKind::nfc ? is_trivially_nfc(text) : is_ascii(text)) return {};
  int options = UTF8PROC_STABLE;
  const bool compose = kind == NormalizerKind::nfc || kind == NormalizerKind::nfkc;
  options |= compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  if (kind == NormalizerKind::nfkc || kind == NormalizerKind::nfkd) options |= UTF8PROC_COMPAT;
  utf8proc_uint8_t* out = nullptr;
  const utf8proc_ssize_t n =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &out, static_cast<utf8proc_option_t>(options));
  if (n < 0) return fail(Code::no_memory, "Unicode normalisation failed: ", utf8proc_errmsg(n));
  text.assign(reinterpret_cast<const char*>(out), static_cast<size_t>(n));
  std::free(out);
  return {};
}

void lowercase(std::string& text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = decode_utf8(std::string_view(text).substr(i, 4));
    // The one character whose lower case has two code points.
    if (c.codepoint == 0x130) {
      out.append("i\xCC\x87");
    } else {
      append_utf8(static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c.codepoint))), out);
    }
    i += c.length;
  }
  text = std::move(out);
}

void strip_accents(std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = decode_utf8(std::string_view(text).substr(i, 4));
    if (utf8proc_category(static_cast<utf8proc_int32_t>(c.codepoint)) != UTF8PROC_CATEGORY_MN) {
      out.append(text, i, c.length);
    }
    i += c.length;
  }
  text = std::move(out);
}

void strip(std::string& text, bool left, bool right) {
  size_t begin = 0, end = text.size();
  const std::string_view s = text;
  while (left && begin < end) {
    const Utf8Char c = decode_utf8(s.substr(begin, 4));
    if (!is_white_space(c.codepoint)) break;
    begin += c.length;
  }
  while (right && end > begin) {
    size_t at = end - 1;
    while (at > begin && (static_cast<uint8_t>(s[at]) & 0xC0) == 0x80) --at;
    if (!is_white_space(decode_utf8(s.substr(at, 4)).codepoint)) break;
    end = at;
  }
  text = text.substr(begin, end - begin);
}

Status replace(std::string& text, std::string_view pattern, std::string_view content) {
  size_t at = text.find(pattern);
  if (at == std::string::npos) return {};
  std::string out;
  size_t done = 0;
  for (; at != std::string::npos; at = text.find(pattern, done)) {
    out.append(text, done, at - done).append(content);
    done = at + pattern.size();
    if (out.size() > kMaxText)
      return fail(Code::unsupported, "the tokenizer's normaliser makes the text too long");
  }
  text = out.append(text, done);
  return {};
}

Status replace(std::string& text, const Regex& regex, std::string_view content) {
  RegexMatcher matcher(regex);
  std::string out;
  size_t done = 0, from = 0;
  while (from <= text.size()) {
    MINNOW_ASSIGN(const auto m, matcher.find(text, from));
    if (!m.found) break;
    if (m.end > m.begin) {
      out.append(text, done, m.begin - done).append(content);
      done = from = m.end;
    } else {
      // An empty match replaces nothing; step over one character.
      from = m.end < text.size() ? m.end + utf8_length(text[m.end]) : m.end + 1;
    }
    if (out.size() > kMaxText)
      return fail(Code::unsupported, "the tokenizer's normaliser makes the text too long");
  }
  text = out.append(text, done);
  return {};
}

}  // namespace

Result<Normalizer> Normalizer::create(std::span<const Step> steps) {
  Normalizer n;
  n.steps_.assign(steps.begin(), steps.end());
  for (const Step& s : n.steps_) {
    if (find_invalid_utf8(s.content) != std::string_view::npos) {
      return fail(Code::corrupt, "tokenizer: a normalizer puts in text that is not UTF-8");
    }
    if (s.kind == NormalizerKind::replace_string && find_invalid_utf8(s.pattern) != std::string_view::npos) {
      return fail(Code::corrupt, "tokenizer: a normalizer looks for text that is not UTF-8");
    }
    if (s.kind != NormalizerKind::replace_regex) continue;
    MINNOW_ASSIGN(Regex regex, Regex::compile(s.pattern));
    n.regexes_.push_back(std::move(regex));
  }
  return n;
}

Status Normalizer::apply(std::string& text) const {
  size_t regex = 0;
  for (const Step& s : steps_) {
    switch (s.kind) {
      case NormalizerKind::nfc:
      case NormalizerKind::nfd:
      case NormalizerKind::nfkc:
      case NormalizerKind::nfkd:
        MINNOW_TRY(unicode_form(text, s.kind));
        break;
      case NormalizerKind::lowercase:
        lowercase(text);
        break;
      case NormalizerKind::strip:
        strip(text, s.left, s.right);
        break;
      case NormalizerKind::strip_accents:
        strip_accents(text);
        break;
      case NormalizerKind::prepend:
        if (!text.empty()) text.insert(0, s.content);
        break;
      case NormalizerKind::replace_string:
        MINNOW_TRY(replace(text, s.pattern, s.content));
        break;
      case NormalizerKind::replace_regex:
        MINNOW_TRY(replace(text, regexes_[regex++], s.content));
        break;
    }
  }
  return {};
}

}  // namespace minnow::text
