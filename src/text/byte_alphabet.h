// GPT-2's byte alphabet: each byte as one printable character, so that byte strings fit into JSON.
// Printable Latin-1 characters stand for themselves, the other 68 bytes for U+0100 onwards.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "text/utf8.h"

namespace minnow::text {

struct ByteAlphabet {
  std::array<uint16_t, 256> to_char{};
  std::array<int16_t, 0x144> to_byte{};  ///< -1 where a character stands for no byte

  constexpr ByteAlphabet() {
    for (auto& b : to_byte) b = -1;
    uint16_t next = 0x100;
    for (uint16_t b = 0; b < 256; ++b) {
      const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      to_char[b] = printable ? b : next++;
      to_byte[to_char[b]] = static_cast<int16_t>(b);
    }
  }
};
inline constexpr ByteAlphabet kByteAlphabet;

/// The bytes that `s` (valid UTF-8) stands for; nothing if one of its characters stands for none.
inline std::optional<std::string> from_byte_alphabet(std::string_view s) {
  std::string out;
  while (!s.empty()) {
    const Utf8Char c = decode_utf8(s.substr(0, 4));
    if (!c.valid || c.codepoint >= kByteAlphabet.to_byte.size() || kByteAlphabet.to_byte[c.codepoint] < 0) {
      return std::nullopt;
    }
    out.push_back(static_cast<char>(kByteAlphabet.to_byte[c.codepoint]));
    s.remove_prefix(c.length);
  }
  return out;
}

inline void append_byte_alphabet(std::string_view bytes, std::string& out) {
  for (const char b : bytes) append_utf8(kByteAlphabet.to_char[static_cast<uint8_t>(b)], out);
}

}  // namespace minnow::text
