#include "text/added_tokens.h"

#include <utf8proc.h>

#include <algorithm>

#include "text/utf8.h"

namespace minnow::text {
namespace {

bool is_word(uint32_t codepoint) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(codepoint))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return codepoint == 0x200C || codepoint == 0x200D;
  }
}

size_t last_char(std::string_view s, size_t end) {
  size_t at = end - 1;
  while (at > 0 && (static_cast<uint8_t>(s[at]) & 0xC0) == 0x80) --at;
  return at;
}

bool ends_with_word(std::string_view s) {
  return !s.empty() && is_word(decode_utf8(s.substr(last_char(s, s.size()))).codepoint);
}

bool starts_with_word(std::string_view s) {
  return !s.empty() && is_word(decode_utf8(s.substr(0, 4)).codepoint);
}

}  // namespace

AddedTokens::AddedTokens(std::span<const Token> tokens) {
  for (const Token& t : tokens) {
    Index& index = t.normalized ? normalized_ : raw_;
    index.sorted.push_back(&t);
    index.first.set(static_cast<uint8_t>(t.match[0]));
    if (t.special) special_.push_back(t.id);
  }
  std::sort(special_.begin(), special_.end());
}

bool AddedTokens::is_special(uint32_t id) const {
  return std::binary_search(special_.begin(), special_.end(), id);
}

const AddedTokens::Token* AddedTokens::longest_at(const Index& index, std::string_view text) {
  const Token* best = nullptr;
  auto low = index.sorted.begin(), high = index.sorted.end();
  // Tokens in [low, high) share the first `depth` bytes of the text; the one of that length comes first.
  for (size_t depth = 0; depth < text.size() && low != high; ++depth) {
    const auto byte = static_cast<uint8_t>(text[depth]);
    low = std::lower_bound(low, high, byte, [depth](const Token* t, uint8_t b) {
      return t->match.size() <= depth || static_cast<uint8_t>(t->match[depth]) < b;
    });
    high = std::upper_bound(low, high, byte, [depth](uint8_t b, const Token* t) {
      return b < static_cast<uint8_t>(t->match[depth]);
    });
    if (low != high && (*low)->match.size() == depth + 1) best = *low;
  }
  return best;
}

void AddedTokens::split(std::string_view s, bool normalized, bool parse_special,
                        std::vector<Section>& out) const {
  const Index& index = normalized ? normalized_ : raw_;
  size_t done = 0;
  for (size_t i = 0; !index.sorted.empty() && i < s.size();) {
    const Token* token = index.first[static_cast<uint8_t>(s[i])] ? longest_at(index, s.substr(i)) : nullptr;
    if (token == nullptr) {
      ++i;
      continue;
    }
    size_t begin = i, end = i + token->match.size();
    i = end;
    if (token->special && !parse_special) continue;
    if (token->single_word && (ends_with_word(s.substr(0, begin)) || starts_with_word(s.substr(end))))
      continue;
    if (token->lstrip) {
      while (begin > done) {
        const size_t at = last_char(s, begin);
        if (!is_white_space(decode_utf8(s.substr(at, 4)).codepoint)) break;
        begin = at;
      }
      begin = std::max(begin, done);
    }
    if (token->rstrip) {
      while (end < s.size()) {
        const Utf8Char c = decode_utf8(s.substr(end, 4));
        if (!c.valid || !is_white_space(c.codepoint)) break;
        end += c.length;
      }
    }
    if (done < begin) out.push_back({done, begin, format::kNoToken});
    out.push_back({begin, end, token->id});
    done = end;
  }
  if (done < s.size()) out.push_back({done, s.size(), format::kNoToken});
}

}  // namespace minnow::text
