// Hostile bytes: whatever a tokenizer segment holds, opening and using it never crashes.
#include "format/tokenizer_view.h"

#include <gtest/gtest.h>

#include "compress/tokenizer_json.h"
#include "support/tokenizer_support.h"

namespace minnow::test {
namespace {

format::TokenizerData small() {
  format::TokenizerData d;
  d.byte_level = true;
  for (int b = 0; b < 256; ++b) {
    const char c = static_cast<char>(b);
    d.add_token({&c, 1}, true);
    d.byte_ids.push_back(static_cast<uint32_t>(b));
  }
  d.add_token("ab", true);
  d.add_token("abc", true);
  d.add_token("<s>", false);
  d.merges = {{'a', 'b', 256}, {256, 'c', 257}};
  d.normalizer.push_back({format::NormalizerKind::nfc, {}, {}, false, false});
  d.normalizer.push_back({format::NormalizerKind::replace_regex, "x+y", "z", false, false});
  d.pre_tokenizer.push_back(
      {.kind = format::PreTokenizerKind::split_regex, .pattern = "\\p{L}+|\\s+(?!\\S)|\\s+"});
  d.pre_tokenizer.push_back({.kind = format::PreTokenizerKind::byte_level});
  d.pre_tokenizer.push_back({.kind = format::PreTokenizerKind::digits});
  d.decoder.push_back({.kind = format::DecoderKind::byte_level});
  d.added_tokens.push_back({258, "<s>", "<s>", true, true, true, false, false});
  d.prefix_ids = {258};
  d.bos_id = d.eos_id = 258;
  d.end_ids = {258};
  d.add_bos = true;
  d.chat.kind = format::ChatKind::chatml;
  d.chat.stop_strings = {"<|im_end|>"};
  return d;
}

/// Opens and uses; the only demand is that this ends without a fault.
void try_bytes(std::span<const std::byte> bytes) {
  auto view = format::TokenizerView::open(bytes);
  if (!view.ok()) return;
  auto t = text::Tokenizer::create(std::move(view).value());
  if (!t.ok()) return;
  std::vector<int32_t> ids;
  (void)(*t)->encode("abc <s> xxy 12 \xC3\xA9\n", true, true, ids).ok();
  (void)(*t)->decode(ids, false);
  (void)stream(**t, ids);
  (void)(*t)->find("abc");
  for (const int32_t id : ids) (void)(*t)->token_bytes(id);
}

TEST(TokenizerView, RoundTrip) {
  auto t = make_tokenizer(small());
  ASSERT_TRUE(t.ok()) << t.status().message();
  EXPECT_EQ(encode(**t, "abc", true), (std::vector<int32_t>{258, 257}));
  EXPECT_EQ((*t)->view().chat.stop_strings.at(0), "<|im_end|>");
  EXPECT_EQ((*t)->view().chat.kind, format::ChatKind::chatml);
}

TEST(TokenizerView, TruncatedAtEveryLength) {
  const auto bytes = format::build_tokenizer(small());
  ASSERT_TRUE(bytes.ok());
  for (size_t n = 0; n < bytes->size(); ++n) {
    const std::vector<std::byte> cut(bytes->begin(), bytes->begin() + static_cast<std::ptrdiff_t>(n));
    try_bytes(cut);
  }
}

TEST(TokenizerView, EveryByteFlipped) {
  const auto bytes = format::build_tokenizer(small());
  ASSERT_TRUE(bytes.ok());
  std::vector<std::byte> changed = *bytes;
  for (size_t i = 0; i < changed.size(); ++i) {
    for (const unsigned mask : {0xFFu, 0x01u, 0x80u}) {
      changed[i] ^= static_cast<std::byte>(mask);
      try_bytes(changed);
      changed[i] ^= static_cast<std::byte>(mask);
    }
  }
}

TEST(TokenizerView, UnalignedIsRefused) {
  const auto bytes = format::build_tokenizer(small());
  ASSERT_TRUE(bytes.ok());
  std::vector<std::byte> shifted(bytes->size() + size_t{8});
  for (size_t i = 0; i < bytes->size(); ++i) shifted[i + 4] = (*bytes)[i];
  EXPECT_EQ(format::TokenizerView::open(std::span(shifted).subspan(4, bytes->size())).status().code(),
            Code::invalid_argument);
}

struct Mutation {
  const char* name;
  void (*apply)(format::TokenizerData&);
};

/// Contradictions that the builder lets through to open().
TEST(TokenizerView, ContradictionsAreRefused) {
  const Mutation mutations[] = {
      {"merge result outside", [](auto& d) { d.merges[0].result = 1000; }},
      {"merge side outside", [](auto& d) { d.merges[1].left = 259; }},
      {"byte id outside", [](auto& d) { d.byte_ids[7] = 400; }},
      {"byte ids missing", [](auto& d) { d.byte_ids.clear(); }},
      {"byte ids short", [](auto& d) { d.byte_ids.resize(255); }},
      {"bos outside", [](auto& d) { d.bos_id = 259; }},
      {"eos negative", [](auto& d) { d.eos_id = -2; }},
      {"end id outside", [](auto& d) { d.end_ids = {259}; }},
      {"prefix outside", [](auto& d) { d.prefix_ids = {99999}; }},
      {"added token outside", [](auto& d) { d.added_tokens[0].id = 259; }},
      {"added token empty", [](auto& d) { d.added_tokens[0].match.clear(); }},
      {"scores missing", [](auto& d) { d.kind = format::TokenizerKind::spm_scores; }},
      {"stop id outside", [](auto& d) { d.chat.stop_ids = {259}; }},
      {"replaces the empty string",
       [](auto& d) {
         d.normalizer.push_back({format::NormalizerKind::replace_string, "", "x", false, false});
       }},
  };
  for (const Mutation& m : mutations) {
    format::TokenizerData d = small();
    m.apply(d);
    const auto bytes = format::build_tokenizer(d);
    EXPECT_FALSE(bytes.ok()) << m.name;
    EXPECT_EQ(bytes.status().code(), Code::corrupt) << m.name << ": " << bytes.status().message();
  }
}

}  // namespace
}  // namespace minnow::test
