#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include "compress/tokenizer_json.h"
#include "support/tokenizer_support.h"

namespace minnow::test {
namespace {

OwnedTokenizer tiny(const std::string& name) {
  auto t = make_tokenizer(compress::import_tokenizer_json(MINNOW_TEST_DATA "/tokenizers/" + name));
  EXPECT_TRUE(t.ok()) << t.status().message();
  return std::move(t).value();
}

// Ids of tiny-bytes: 0..255 are bytes, then the merges in order, then the added tokens.
enum : int32_t {
  kHello = 259,
  kSpaceWorld = 264,
  kEmojiHead = 265,
  kEndOfText = 266,
  kImStart = 267,
  kImEnd = 268,
  kTool = 269,
  kMask = 270,
  kAbc = 271
};
using Ids = std::vector<int32_t>;

TEST(ByteLevel, MergesAndRoundTrips) {
  const auto t = tiny("tiny-bytes");
  EXPECT_EQ(encode(*t, "hello world"), (Ids{kHello, kSpaceWorld}));
  for (const std::string text :
       {"", "hello", " hello  world\n\n", "h\xC3\xA9llo \xF0\x9F\x98\x80!", "a\tb\r\n123456"}) {
    const Ids ids = encode(*t, text);
    EXPECT_EQ(t->decode(ids, false), text);
    EXPECT_EQ(stream(*t, ids), text);
  }
}

TEST(ByteLevel, NormalisesBeforeEncoding) {
  const auto t = tiny("tiny-bytes");
  EXPECT_EQ(encode(*t, "e\xCC\x81"), encode(*t, "\xC3\xA9"));  // NFC
}

TEST(ByteLevel, AddsTheTemplateOnlyWhenAsked) {
  const auto t = tiny("tiny-bytes");
  EXPECT_EQ(encode(*t, "hello", true), (Ids{kEndOfText, kHello}));
  EXPECT_EQ(encode(*t, "", true), (Ids{kEndOfText}));
  EXPECT_TRUE(t->adds_bos());
  EXPECT_EQ(t->bos(), kEndOfText);
  EXPECT_EQ(t->eos(), kEndOfText);
}

TEST(AddedTokens, SpecialsOnlyWhenParsed) {
  const auto t = tiny("tiny-bytes");
  EXPECT_EQ(encode(*t, "<|im_start|>hello<|im_end|>"), (Ids{kImStart, kHello, kImEnd}));
  const Ids plain = encode(*t, "<|im_start|>hello", false, false);
  EXPECT_EQ(std::count(plain.begin(), plain.end(), kImStart), 0);
  EXPECT_EQ(t->decode(plain, false), "<|im_start|>hello");
  EXPECT_EQ(encode(*t, "<tool>", false, false), (Ids{kTool}));  // not special: always found
  EXPECT_EQ(t->decode(Ids{kImStart, kHello, kImEnd}, true), "hello");
  EXPECT_EQ(t->decode(Ids{kImStart, kHello, kImEnd}, false), "<|im_start|>hello<|im_end|>");
}

TEST(AddedTokens, StripAndSingleWord) {
  const auto t = tiny("tiny-bytes");
  EXPECT_EQ(encode(*t, "hello \n<mask>  hello"), (Ids{kHello, kMask, kHello}));
  EXPECT_EQ(encode(*t, "abc"), (Ids{kAbc}));
  const Ids inside = encode(*t, "xabc");
  EXPECT_EQ(std::count(inside.begin(), inside.end(), kAbc), 0);
  const Ids beside = encode(*t, "-abc-");
  EXPECT_EQ(std::count(beside.begin(), beside.end(), kAbc), 1);
}

TEST(Lookups, ByTextAndById) {
  const auto t = tiny("tiny-bytes");
  EXPECT_EQ(t->find("<|im_end|>"), kImEnd);
  EXPECT_EQ(t->find(" world"), kSpaceWorld);
  EXPECT_EQ(t->find("worlds"), std::nullopt);
  EXPECT_EQ(t->token_bytes(kSpaceWorld), " world");
  EXPECT_EQ(t->token_bytes(-1), "");
  EXPECT_EQ(t->token_bytes(1 << 30), "");
  EXPECT_TRUE(t->is_special(kImEnd));
  EXPECT_FALSE(t->is_special(kTool));
  EXPECT_TRUE(t->is_end(kImEnd));      // the chat format's stop token
  EXPECT_TRUE(t->is_end(kEndOfText));  // eos
  EXPECT_TRUE(t->is_end(kTool));       // generation_config.json
  EXPECT_FALSE(t->is_end(kHello));
  EXPECT_FALSE(t->is_end(-1));
}

TEST(InvalidText, IsRefusedWithItsOffset) {
  const auto t = tiny("tiny-bytes");
  for (const std::string bad : {"ab\xFF", "ab\xC3", "ab\xED\xA0\x80", "ab\xC0\xAF", "ab\xF5\x80\x80\x80"}) {
    Ids ids;
    const Status s = t->encode(bad, false, true, ids);
    EXPECT_EQ(s.code(), Code::invalid_argument);
    EXPECT_NE(s.message().find("at byte 2"), std::string::npos) << s.message();
    EXPECT_TRUE(ids.empty());
  }
  Ids ids;
  EXPECT_NE(t->encode("0123456789abcdef\xC3\xA9\x80", false, true, ids).message().find("at byte 18"),
            std::string::npos);
}

TEST(StreamDecoder, HoldsAnEmojiUntilItIsWhole) {
  const auto t = tiny("tiny-bytes");
  const Ids ids = encode(*t, "\xF0\x9F\x98\x80");
  ASSERT_EQ(ids.size(), 3u);  // F0 9F, 98, 80
  EXPECT_EQ(ids[0], kEmojiHead);
  text::StreamDecoder d(*t);
  std::string out;
  d.push(ids[0], out);
  d.push(ids[1], out);
  EXPECT_EQ(out, "");
  d.push(ids[2], out);
  EXPECT_EQ(out, "\xF0\x9F\x98\x80");
}

TEST(StreamDecoder, ReplacesWhatNoTokenCompletes) {
  const auto t = tiny("tiny-bytes");
  text::StreamDecoder d(*t);
  std::string out;
  d.push(kEmojiHead, out);
  d.push(kHello, out);
  EXPECT_EQ(out, "\xEF\xBF\xBDhello");
  d.push(kEmojiHead, out);
  d.flush(out);
  EXPECT_EQ(out, "\xEF\xBF\xBDhello\xEF\xBF\xBD");
  EXPECT_EQ(t->decode(Ids{kEmojiHead, kHello, kEmojiHead}, false), out);
}

TEST(StreamDecoder, IgnoresIdsOutside) {
  const auto t = tiny("tiny-bytes");
  EXPECT_EQ(stream(*t, {-5, kHello, 1 << 20}), "hello");
  EXPECT_EQ(t->decode(Ids{-5, kHello, 1 << 20}, false), "hello");
}

// Ids of tiny-spm: 0..2 specials, 3..258 bytes, then characters and merges.
int32_t byte_id(int b) {
  return 3 + b;
}

TEST(ByteFallback, EncodesAndRoundTrips) {
  const auto t = tiny("tiny-spm");
  EXPECT_EQ(t->token_text(encode(*t, "hello").at(0)), "\xE2\x96\x81hello");
  EXPECT_EQ(encode(*t, "hello", true).front(), 1);
  for (const std::string text :
       {"", "hello world", "  hello", "hello\n", "\xF0\x9F\x98\x80 hello", "caf\xC3\xA9"}) {
    const Ids ids = encode(*t, text);
    EXPECT_EQ(t->decode(ids, false), text);
    EXPECT_EQ(stream(*t, ids), text);
  }
  const Ids emoji = encode(*t, "\xF0\x9F\x98\x80");
  EXPECT_EQ(Ids(emoji.end() - 4, emoji.end()),
            (Ids{byte_id(0xF0), byte_id(0x9F), byte_id(0x98), byte_id(0x80)}));
}

TEST(ByteFallback, StreamsWholeCharactersOnly) {
  const auto t = tiny("tiny-spm");
  text::StreamDecoder d(*t);
  std::string out;
  for (const int b : {0xF0, 0x9F, 0x98}) d.push(byte_id(b), out);
  EXPECT_EQ(out, "");
  d.push(byte_id(0x80), out);
  EXPECT_EQ(out, "\xF0\x9F\x98\x80");
  d.push(byte_id('\n'), out);
  EXPECT_EQ(out, "\xF0\x9F\x98\x80\n");
}

TEST(ByteFallback, StrayBytesBecomeOneReplacementEach) {
  const auto t = tiny("tiny-spm");
  const Ids ids = {byte_id(0xE4), byte_id(0xBD), encode(*t, "hello").at(0)};
  EXPECT_EQ(t->decode(ids, false), "\xEF\xBF\xBD\xEF\xBF\xBD hello");
  EXPECT_EQ(stream(*t, ids), "\xEF\xBF\xBD\xEF\xBF\xBD hello");
  // A run that holds one stray byte is all replaced, as in Hugging Face's decode.
  EXPECT_EQ(t->decode(Ids{byte_id('a'), byte_id(0xFF)}, false), "\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST(ByteFallback, LeadingSpaceGoesOnceAndOnlyAtTheStart) {
  const auto t = tiny("tiny-spm");
  const int32_t hello = encode(*t, "hello").at(0);
  EXPECT_EQ(stream(*t, {hello, hello}), "hello hello");
  text::StreamDecoder continuing(*t, true, false);
  std::string out;
  continuing.push(hello, out);
  EXPECT_EQ(out, " hello");
  // A special that is skipped does not count as the start.
  text::StreamDecoder skipping(*t, true);
  out.clear();
  skipping.push(1, out);
  skipping.push(hello, out);
  EXPECT_EQ(out, "hello");
  EXPECT_EQ(t->decode(Ids{1, hello}, true), "hello");
  EXPECT_EQ(t->decode(Ids{1, hello}, false), "<s> hello");
  EXPECT_EQ(t->token_bytes(hello), " hello");
  EXPECT_EQ(t->token_bytes(byte_id(0x0A)), "\n");
}

TEST(Heap, LongPiecesMergeAsShortOnesDo) {
  const auto t = tiny("tiny-spm");
  std::string text;
  for (int i = 0; i < 400; ++i) text += i % 3 == 0 ? "hello" : i % 3 == 1 ? "world" : " ";
  const Ids ids = encode(*t, text);
  EXPECT_EQ(t->decode(ids, false), text);
  const auto b = tiny("tiny-bytes");
  const std::string word(3000, 'l');
  EXPECT_EQ(encode(*b, word).size(), 1500u);
}

}  // namespace
}  // namespace minnow::test
