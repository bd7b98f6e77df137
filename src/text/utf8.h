// UTF-8: validation with the place of the first error, decoding, and replacement of invalid bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace minnow::text {

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

/// What lies at the start of `s` (not empty).
struct Utf8Char {
  uint32_t codepoint = 0;
  uint32_t length = 0;  ///< bytes; for an invalid start, those one U+FFFD stands for (at least 1)
  bool valid = false;
  bool incomplete = false;  ///< invalid only because `s` ends; more bytes could complete it
};
Utf8Char decode_utf8(std::string_view s);

/// Offset of the first byte that is not valid UTF-8, or npos.
size_t find_invalid_utf8(std::string_view s);

/// Appends `s` with each maximal invalid part replaced by U+FFFD (as Rust's from_utf8_lossy does).
void append_lossy(std::string_view s, std::string& out);

void append_utf8(uint32_t codepoint, std::string& out);

/// Length of the character whose lead byte is `lead`, for text known to be valid.
inline size_t utf8_length(char lead) {
  const auto b = static_cast<uint8_t>(lead);
  return b < 0x80 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
}

/// Unicode's White_Space property.
bool is_white_space(uint32_t codepoint);

}  // namespace minnow::text
