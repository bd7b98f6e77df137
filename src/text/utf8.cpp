#include "text/utf8.h"

#include <cstring>

namespace minnow::text {

Utf8Char decode_utf8(std::string_view s) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(s[i]); };
  const uint8_t b0 = byte(0);
  if (b0 < 0x80) return {b0, 1, true, false};
  // The second byte's range excludes overlong forms, surrogates and values above U+10FFFF.
  uint8_t low = 0x80, high = 0xBF;
  uint32_t need = 0, cp = 0;
  if (b0 >= 0xC2 && b0 <= 0xDF) {
    need = 1, cp = b0 & 0x1Fu;
  } else if (b0 >= 0xE0 && b0 <= 0xEF) {
    need = 2, cp = b0 & 0x0Fu;
    if (b0 == 0xE0) low = 0xA0;
    if (b0 == 0xED) high = 0x9F;
  } else if (b0 >= 0xF0 && b0 <= 0xF4) {
    need = 3, cp = b0 & 0x07u;
    if (b0 == 0xF0) low = 0x90;
    if (b0 == 0xF4) high = 0x8F;
  } else {
    return {0, 1, false, false};
  }
  for (uint32_t i = 1; i <= need; ++i) {
    if (i >= s.size()) return {0, i, false, true};
    if (byte(i) < low || byte(i) > high) return {0, i, false, false};
    cp = (cp << 6) | (byte(i) & 0x3Fu);
    low = 0x80, high = 0xBF;
  }
  return {cp, need + 1, true, false};
}

size_t find_invalid_utf8(std::string_view s) {
  size_t i = 0;
  while (i < s.size()) {
    uint64_t word;
    if (i + 8 <= s.size()) {
      std::memcpy(&word, s.data() + i, 8);
      if ((word & 0x8080808080808080ull) == 0) {
        i += 8;
        continue;
      }
    }
    const Utf8Char c = decode_utf8(s.substr(i, 4));
    if (!c.valid) return i;
    i += c.length;
  }
  return std::string_view::npos;
}

void append_lossy(std::string_view s, std::string& out) {
  while (!s.empty()) {
    const Utf8Char c = decode_utf8(s.substr(0, 4));
    if (c.valid) {
      out.append(s.substr(0, c.length));
    } else {
      out.append(kReplacement);
    }
    s.remove_prefix(c.length);
  }
}

void append_utf8(uint32_t cp, std::string& out) {
  const auto put = [&](uint32_t b) { out.push_back(static_cast<char>(b)); };
  if (cp < 0x80) {
    put(cp);
  } else if (cp < 0x800) {
    put(0xC0 | (cp >> 6)), put(0x80 | (cp & 0x3F));
  } else if (cp < 0x10000) {
    put(0xE0 | (cp >> 12)), put(0x80 | ((cp >> 6) & 0x3F)), put(0x80 | (cp & 0x3F));
  } else {
    put(0xF0 | (cp >> 18)), put(0x80 | ((cp >> 12) & 0x3F)), put(0x80 | ((cp >> 6) & 0x3F)),
        put(0x80 | (cp & 0x3F));
  }
}

bool is_white_space(uint32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

}  // namespace minnow::text
