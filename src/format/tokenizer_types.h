// The parts of a tokenizer as it is stored: small plain structs, shared by the builder (Text is
// std::string) and the view (Text is std::string_view into the mapped file).
//
// Goal: no FlatBuffers type leaves src/format. Enum values equal those of schema/tokenizer.fbs.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace minnow::format {

enum class TokenizerKind : uint8_t { bpe_ranks = 0, spm_scores = 1 };

enum class NormalizerKind : uint8_t {
  nfc = 0,
  nfd = 1,
  nfkc = 2,
  nfkd = 3,
  lowercase = 4,
  strip = 5,
  strip_accents = 6,
  prepend = 7,
  replace_string = 8,
  replace_regex = 9,
};

template <typename Text>
struct NormalizerStep {
  NormalizerKind kind{};
  Text pattern{};
  Text content{};
  bool left = false;
  bool right = false;
};

enum class PreTokenizerKind : uint8_t {
  byte_level = 0,
  split_string = 1,
  split_regex = 2,
  digits = 3,
  metaspace = 4,
  punctuation = 5,
  whitespace = 6,
  whitespace_split = 7,
};

/// What becomes of a match: see the tokenizers library of Hugging Face, whose names these are.
enum class SplitBehavior : uint8_t {
  removed = 0,
  isolated = 1,
  merged_with_previous = 2,
  merged_with_next = 3,
  contiguous = 4,
};

enum class PrependScheme : uint8_t { never = 0, first = 1, always = 2 };

template <typename Text>
struct PreTokenizerStep {
  PreTokenizerKind kind{};
  Text pattern{};  ///< split: what to look for; metaspace: what replaces a space
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;
  bool add_prefix_space = false;
  bool use_regex = false;
  PrependScheme prepend_scheme = PrependScheme::never;
  bool split = false;
};

enum class DecoderKind : uint8_t {
  byte_level = 0,
  metaspace = 1,
  byte_fallback = 2,
  fuse = 3,
  strip = 4,
  replace = 5,
};

template <typename Text>
struct DecoderStep {
  DecoderKind kind{};
  Text pattern{};
  Text content{};
  uint32_t start = 0;
  uint32_t stop = 0;
  PrependScheme prepend_scheme = PrependScheme::never;
};

template <typename Text>
struct AddedToken {
  uint32_t id = 0;
  Text content{};
  Text match{};  ///< `content` as the normaliser leaves it if `normalized`, else `content`
  bool special = false;
  bool lstrip = false;
  bool rstrip = false;
  bool single_word = false;
  bool normalized = false;
};

enum class ChatKind : uint8_t {
  none = 0,     ///< the model brings no template
  unknown = 1,  ///< it brings one that minnow does not recognise; template_text has it
  chatml = 2,
  llama2 = 3,
  llama3 = 4,
  gemma = 5,
  phi3 = 6,
  mistral = 7,
  zephyr = 8,
  granite = 9,
  phi4 = 10,
  custom = 255,
};

enum class ChatSystem : uint8_t { own_turn = 0, in_first_user_turn = 1, none = 2 };

/// A chat format as prefixes and suffixes; special tokens stand in it as their text.
template <typename Text>
struct ChatFormat {
  ChatKind kind = ChatKind::none;
  Text name{};
  Text begin{};  ///< once, before everything
  Text system_prefix{};
  Text system_suffix{};
  Text user_prefix{};
  Text user_suffix{};
  Text assistant_prefix{};
  Text assistant_suffix{};
  Text generation_prompt{};
  ChatSystem system = ChatSystem::own_turn;
  bool has_default_system = false;
  Text default_system{};
  bool trim = false;
  std::vector<Text> stop_strings{};
  std::vector<uint32_t> stop_ids{};
  Text template_text{};
};

struct Merge {
  uint32_t left = 0;
  uint32_t right = 0;
  uint32_t result = 0;
};

inline constexpr uint32_t kNoToken = 0xFFFFFFFFu;

/// Hashes of the stored tables. Part of the file format: they must never change. Little-endian words
/// are mixed by multiplication and a rotation, the last word padded with the length.
inline uint32_t hash_finish(uint64_t h) {
  h ^= h >> 32;
  h *= 0x9E3779B97F4A7C15ull;
  return static_cast<uint32_t>(h >> 32);
}

inline uint32_t hash_bytes(std::string_view s) {
  uint64_t h = 0x2545F4914F6CDD1Dull ^ s.size();
  size_t i = 0;
  for (; i + 8 <= s.size(); i += 8) {
    uint64_t w;
    std::memcpy(&w, s.data() + i, 8);
    h = std::rotl((h ^ w) * 0xBF58476D1CE4E5B9ull, 29);
  }
  uint64_t w = 0;
  for (size_t shift = 0; i < s.size(); ++i, shift += 8) {
    w |= static_cast<uint64_t>(static_cast<uint8_t>(s[i])) << shift;
  }
  h = std::rotl((h ^ w) * 0xBF58476D1CE4E5B9ull, 29);
  return hash_finish(h);
}

inline uint32_t hash_pair(uint32_t left, uint32_t right) {
  return hash_finish(((static_cast<uint64_t>(left) << 32) | right) * 0xBF58476D1CE4E5B9ull);
}

}  // namespace minnow::format
