// Text with facts in it: told, then asked for, the same for the same seed.
#include "compress/a2ats/facts_text.h"

#include <gtest/gtest.h>

#include "compress/runtime_text.h"
#include "support/fixtures.h"

namespace minnow::testing {
namespace {

class FactsText : public ::testing::Test {
 protected:
  FactsText()
      : container_(
            std::move(format::Container::open(std::move(MappedFile::open(books_path())).value())).value()),
        tokenizer_(std::move(compress::tokenizer_of(container_)).value()) {
    EXPECT_TRUE(tokenizer_->encode(kProse, false, false, text_.emplace_back()).ok());
  }
  compress::Sequences make(uint32_t tokens, uint32_t length, uint64_t seed) const {
    return std::move(compress::facts_text(*tokenizer_, text_, tokens, length, seed)).value();
  }

  static constexpr const char* kProse =
      "It was late in the evening when they came upon a house by the river.";
  format::Container container_;
  std::unique_ptr<const text::Tokenizer> tokenizer_;
  compress::Sequences text_;
};

TEST_F(FactsText, HasTheLengthsAskedFor) {
  const auto made = make(2500, 1000, 1);
  ASSERT_EQ(made.size(), 3u);
  EXPECT_EQ(made[0].size(), 1000u);
  EXPECT_EQ(made[2].size(), 500u);
  EXPECT_EQ(made, make(2500, 1000, 1));
  EXPECT_NE(made, make(2500, 1000, 2));
  EXPECT_TRUE(make(0, 1000, 1).empty());
}

TEST_F(FactsText, AsksForWhatItTold) {
  const std::string all = tokenizer_->decode(make(20000, 20000, 3).front(), true);
  const std::string look = "Look up entry ", stop = ". Entry ";
  size_t asked = 0;
  for (size_t at = all.find(look); at != std::string::npos; at = all.find(look, at + 1), ++asked) {
    const size_t begin = at + look.size(), middle = all.find(stop, begin), end = all.find(".\n", middle + 1);
    ASSERT_LT(end, all.size());
    const std::string key = all.substr(begin, middle - begin);
    const std::string fact = all.substr(middle + 2, end - middle - 1);  // "Entry KEY contains VALUE."
    EXPECT_TRUE(fact.starts_with("Entry " + key + " contains ")) << fact;
    EXPECT_LT(all.find("\n" + fact + "\n"), at) << fact;
  }
  EXPECT_GT(asked, 10u);
  EXPECT_NE(all.find("late in the evening"), std::string::npos) << "ordinary text lies between";
}

TEST_F(FactsText, IdentifiersAreNothingElse) {
  const auto made = std::move(compress::random_identifiers(*tokenizer_, 1500, 1000, 1)).value();
  ASSERT_EQ(made.size(), 2u);
  EXPECT_EQ(made[0].size(), 1000u);
  EXPECT_EQ(made[1].size(), 500u);
  const std::string all = tokenizer_->decode(made[0], true);
  EXPECT_EQ(all.find('-'), 8u);
  EXPECT_EQ(all.find(", "), 36u);
  EXPECT_EQ(all.find_first_not_of("0123456789abcdef-, "), std::string::npos);
}

}  // namespace
}  // namespace minnow::testing
