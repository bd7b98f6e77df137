// Text in and out: tokenize, detokenize, chat_render and their rules of capacity.
#include <cstring>

#include "support/fixtures.h"

namespace minnow::testing {
namespace {

class Text : public ::testing::Test {
 protected:
  Engine engine = make_engine(1);
  Model books = load_model(engine, books_path());
  Model tiny = load_model(engine, tiny_path());
};

TEST_F(Text, TokenizeFollowsTheRulesOfCapacity) {
  const std::string text = "It was the best of times.";
  size_t count = 0;
  ASSERT_EQ(minnow_tokenize(books.get(), text.data(), text.size(), 0, 0, nullptr, 0, &count), MINNOW_OK);
  ASSERT_GT(count, 2u);
  const size_t needed = count;
  std::vector<int32_t> ids(needed, -7);
  count = 0;
  EXPECT_EQ(minnow_tokenize(books.get(), text.data(), text.size(), 0, 0, ids.data(), needed - 1, &count),
            MINNOW_INVALID_ARGUMENT);
  EXPECT_EQ(count, needed);
  EXPECT_EQ(ids, std::vector<int32_t>(needed, -7));  // nothing was written
  EXPECT_EQ(minnow_tokenize(books.get(), text.data(), text.size(), 0, 0, nullptr, needed, &count),
            MINNOW_INVALID_ARGUMENT);
  EXPECT_EQ(minnow_tokenize(books.get(), text.data(), text.size(), 0, 0, ids.data(), needed, nullptr),
            MINNOW_INVALID_ARGUMENT);
  EXPECT_EQ(minnow_tokenize(books.get(), nullptr, 3, 0, 0, ids.data(), needed, &count),
            MINNOW_INVALID_ARGUMENT);
  ASSERT_EQ(minnow_tokenize(books.get(), text.data(), text.size(), 0, 0, ids.data(), needed, &count),
            MINNOW_OK);
  EXPECT_EQ(count, needed);
  ASSERT_EQ(minnow_tokenize(books.get(), nullptr, 0, 0, 0, nullptr, 0, &count), MINNOW_OK);
  EXPECT_EQ(count, 0u);

  size_t length = 0;
  ASSERT_EQ(minnow_detokenize(books.get(), ids.data(), ids.size(), 0, nullptr, 0, &length), MINNOW_OK);
  EXPECT_EQ(length, text.size());
  std::string out(length, '#');
  EXPECT_EQ(minnow_detokenize(books.get(), ids.data(), ids.size(), 0, out.data(), length - 1, &length),
            MINNOW_INVALID_ARGUMENT);
  EXPECT_EQ(length, text.size());
  EXPECT_EQ(out, std::string(length, '#'));
  ASSERT_EQ(minnow_detokenize(books.get(), ids.data(), ids.size(), 0, out.data(), length, &length),
            MINNOW_OK);
  EXPECT_EQ(out, text);
  EXPECT_EQ(minnow_detokenize(books.get(), nullptr, 1, 0, out.data(), out.size(), &length),
            MINNOW_INVALID_ARGUMENT);
}

TEST_F(Text, SpecialFormsOnlyWhenAskedFor) {
  const std::vector<int32_t> parsed = tokenize(books, "<|im_start|>a", false, true);
  EXPECT_EQ(parsed.front(), 1);
  const std::vector<int32_t> plain = tokenize(books, "<|im_start|>a");
  EXPECT_EQ(std::count(plain.begin(), plain.end(), 1), 0);
  EXPECT_GT(plain.size(), parsed.size());
  const auto text = [&](int skip) {
    std::string out(64, '\0');
    size_t length = 0;
    EXPECT_EQ(
        minnow_detokenize(books.get(), parsed.data(), parsed.size(), skip, out.data(), out.size(), &length),
        MINNOW_OK);
    return out.substr(0, length);
  };
  EXPECT_EQ(text(0), "<|im_start|>a");
  EXPECT_EQ(text(1), "a");
}

TEST_F(Text, BadTextAndBadTokens) {
  size_t count = 0;
  for (const std::string bad : {"\xFF", "a\xC3", "\xED\xA0\x80", "\xF5\x80\x80\x80"}) {
    EXPECT_EQ(minnow_tokenize(books.get(), bad.data(), bad.size(), 0, 0, nullptr, 0, &count),
              MINNOW_INVALID_ARGUMENT);
    const Session s = make_session(books, 16);
    EXPECT_EQ(generate_text(s, bad, greedy_params(1)).status, MINNOW_INVALID_ARGUMENT);
    EXPECT_EQ(minnow_session_position(s.get()), 0u);
  }
  // A zero byte is a character like any other to the calls that take a length.
  const std::string zero("a\0b", 3);
  EXPECT_EQ(minnow_tokenize(books.get(), zero.data(), 3, 0, 0, nullptr, 0, &count), MINNOW_OK);
  EXPECT_EQ(count, 3u);
  // One byte of a character is none.
  std::vector<int32_t> ids = tokenize(books, "\xF0\x9F\xA6\x88");
  ASSERT_GT(ids.size(), 1u);
  char text[32];
  size_t length = 0;
  ASSERT_EQ(minnow_detokenize(books.get(), ids.data(), 1, 0, text, sizeof text, &length), MINNOW_OK);
  EXPECT_EQ(std::string(text, 3), "\xEF\xBF\xBD");
  const int32_t outside[] = {-5, 1 << 30};
  ASSERT_EQ(minnow_detokenize(books.get(), outside, 2, 0, text, sizeof text, &length), MINNOW_OK);
  EXPECT_EQ(length, 0u);
}

TEST_F(Text, WithoutATokenizerIsUnsupported) {
  size_t count = 0;
  const int32_t token = 5;
  const minnow_message message{"user", "a"};
  EXPECT_EQ(minnow_tokenize(tiny.get(), "a", 1, 0, 0, nullptr, 0, &count), MINNOW_UNSUPPORTED);
  EXPECT_EQ(minnow_detokenize(tiny.get(), &token, 1, 0, nullptr, 0, &count), MINNOW_UNSUPPORTED);
  EXPECT_EQ(minnow_chat_render(tiny.get(), "chatml", &message, 1, nullptr, 0, &count), MINNOW_UNSUPPORTED);
  EXPECT_EQ(generate_text(make_session(tiny, 8), "a", greedy_params(1)).status, MINNOW_UNSUPPORTED);
}

TEST_F(Text, ChatRender) {
  const minnow_message messages[] = {{"system", "Be brief."}, {"user", "Hello"}};
  const std::string expected =
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n";
  size_t length = 0;
  ASSERT_EQ(minnow_chat_render(books.get(), nullptr, messages, 2, nullptr, 0, &length), MINNOW_OK)
      << minnow_last_error();
  EXPECT_EQ(length, expected.size());
  std::string out(length, '#');
  EXPECT_EQ(minnow_chat_render(books.get(), nullptr, messages, 2, out.data(), length - 1, &length),
            MINNOW_INVALID_ARGUMENT);
  EXPECT_EQ(length, expected.size());
  EXPECT_EQ(out, std::string(length, '#'));
  ASSERT_EQ(minnow_chat_render(books.get(), nullptr, messages, 2, out.data(), length, &length), MINNOW_OK);
  EXPECT_EQ(out, expected);
  ASSERT_EQ(minnow_chat_render(books.get(), "chatml", messages, 2, out.data(), length, &length), MINNOW_OK);
  EXPECT_EQ(out, expected);
  ASSERT_EQ(minnow_chat_render(books.get(), "llama3", messages, 2, nullptr, 0, &length), MINNOW_OK);
  EXPECT_NE(length, expected.size());
  EXPECT_EQ(minnow_chat_render(books.get(), "no such format", messages, 2, nullptr, 0, &length),
            MINNOW_NOT_FOUND);
  const minnow_message stranger{"narrator", "a"}, no_role{nullptr, "a"}, no_text{"user", nullptr};
  EXPECT_EQ(minnow_chat_render(books.get(), nullptr, &stranger, 1, nullptr, 0, &length),
            MINNOW_INVALID_ARGUMENT);
  EXPECT_EQ(minnow_chat_render(books.get(), nullptr, &no_role, 1, nullptr, 0, &length),
            MINNOW_INVALID_ARGUMENT);
  EXPECT_EQ(minnow_chat_render(books.get(), nullptr, &no_text, 1, nullptr, 0, &length),
            MINNOW_INVALID_ARGUMENT);
  EXPECT_EQ(minnow_chat_render(books.get(), nullptr, nullptr, 1, nullptr, 0, &length),
            MINNOW_INVALID_ARGUMENT);
}

}  // namespace
}  // namespace minnow::testing
