#include "text/regex.h"

#include <gtest/gtest.h>

namespace minnow::text {
namespace {

std::string first_match(std::string_view pattern, std::string_view text) {
  auto r = Regex::compile(pattern);
  EXPECT_TRUE(r.ok()) << r.status().message();
  RegexMatcher m(*r);
  auto found = m.find(text, 0);
  EXPECT_TRUE(found.ok()) << found.status().message();
  return found->found ? std::string(text.substr(found->begin, found->end - found->begin)) : "(none)";
}

TEST(Regex, WhiteSpaceIsUnicodes) {
  EXPECT_EQ(first_match("\\s+", "a \xC2\xA0\xE3\x80\x80z"), " \xC2\xA0\xE3\x80\x80");
  EXPECT_EQ(first_match("\\s", "\xE1\xA0\x8E"), "(none)");  // U+180E has not been white space since 2013
  EXPECT_EQ(first_match("[^\\s]+", " \xE1\xA0\x8E "), "\xE1\xA0\x8E");
  EXPECT_EQ(first_match("\\S", "\t\xE1\xA0\x8E"), "\xE1\xA0\x8E");
}

TEST(Regex, OnigurumaSpellings) {
  EXPECT_EQ(first_match("(?i:'s|'t)", "it'S"), "'S");
  EXPECT_EQ(first_match("\\p{N}{1,3}", "x12345"), "123");
  EXPECT_EQ(first_match("\\s+(?!\\S)", "   a"), "  ");
  EXPECT_EQ(first_match("a++b", "aaab"), "aaab");
  EXPECT_EQ(first_match("[\\u4e00-\\u9fa5]+", "x\xE4\xB8\xAD\xE6\x96\x87"), "\xE4\xB8\xAD\xE6\x96\x87");
  EXPECT_EQ(first_match("^b", "a\nb"), "b");
}

TEST(Regex, RefusesWhatWouldMeanSomethingElse) {
  for (const char* p : {"[a&&b]", "[a[bc]]", "\\h", "(*UCP)a", "a\\", "[]a]", "(", "\\C"}) {
    const auto r = Regex::compile(p);
    EXPECT_FALSE(r.ok()) << p;
    EXPECT_EQ(r.status().code(), Code::unsupported) << p;
  }
}

TEST(Regex, RunawayMatchesEndWithAStatus) {
  auto r = Regex::compile("(a|aa|aaa|aaaa)*\\d\\1b");
  ASSERT_TRUE(r.ok());
  RegexMatcher m(*r);
  const std::string text(4000, 'a');
  const auto found = m.find(text, 0);
  EXPECT_TRUE(!found.ok() || !found->found);
}

}  // namespace
}  // namespace minnow::text
