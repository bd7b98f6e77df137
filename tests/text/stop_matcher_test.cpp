#include "text/stop_matcher.h"

#include <gtest/gtest.h>

namespace minnow::text {
namespace {

TEST(StopMatcher, PassesEverythingWithoutStops) {
  StopMatcher m({""});
  std::string out;
  EXPECT_FALSE(m.push("abc", out));
  EXPECT_EQ(out, "abc");
}

TEST(StopMatcher, HoldsBackAPossibleBeginning) {
  StopMatcher m({"</end>"});
  std::string out;
  EXPECT_FALSE(m.push("text <", out));
  EXPECT_EQ(out, "text ");
  EXPECT_FALSE(m.push("/e", out));
  EXPECT_EQ(out, "text ");
  EXPECT_FALSE(m.push("x", out));
  EXPECT_EQ(out, "text </ex");
}

TEST(StopMatcher, StopsAcrossPiecesAndDropsTheRest) {
  StopMatcher m({"\nUser:", "###"});
  std::string out;
  EXPECT_FALSE(m.push("hi\nUs", out));
  EXPECT_TRUE(m.push("er: more", out));
  EXPECT_TRUE(m.push("later", out));
  m.flush(out);
  EXPECT_EQ(out, "hi");
  EXPECT_TRUE(m.stopped());
}

TEST(StopMatcher, FindsTheEarliestOfSeveral) {
  StopMatcher m({"cd", "b"});
  std::string out;
  EXPECT_TRUE(m.push("abcd", out));
  EXPECT_EQ(out, "a");
}

TEST(StopMatcher, OverlappingBeginnings) {
  StopMatcher m({"aab"});
  std::string out;
  EXPECT_FALSE(m.push("aa", out));
  EXPECT_FALSE(m.push("a", out));
  EXPECT_EQ(out, "a");
  EXPECT_TRUE(m.push("b", out));
  EXPECT_EQ(out, "a");
}

TEST(StopMatcher, FlushGivesWhatWasHeld) {
  StopMatcher m({"<stop>"});
  std::string out;
  m.push("x<st", out);
  m.flush(out);
  EXPECT_EQ(out, "x<st");
}

}  // namespace
}  // namespace minnow::text
