// Regular expressions of tokenizers: PCRE2 made to mean what Hugging Face's engine (Oniguruma) means.
//
// Where the two differ the pattern is rewritten (white space, \u escapes) or refused by name (class
// intersection and nested classes, \h), never reinterpreted. All matching is bounded: PCRE2's match
// limit becomes a Status.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

#include "base/status.h"

struct pcre2_real_code_8;

namespace minnow::text {

/// A compiled pattern. Immutable and thread-safe; cheap to copy.
class Regex {
 public:
  static Result<Regex> compile(std::string_view pattern);

 private:
  friend class RegexMatcher;
  std::shared_ptr<const pcre2_real_code_8> code_;
};

/// The working memory of one caller of a Regex. Not thread-safe.
class RegexMatcher {
 public:
  explicit RegexMatcher(const Regex& regex);
  ~RegexMatcher();
  RegexMatcher(const RegexMatcher&) = delete;
  RegexMatcher& operator=(const RegexMatcher&) = delete;

  struct Match {
    bool found = false;
    size_t begin = 0, end = 0;
  };
  /// The first match at or after `start` in valid UTF-8. Errors: unsupported when the limit is hit.
  Result<Match> find(std::string_view subject, size_t start);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Oniguruma syntax to PCRE2 syntax, or the reason why not. Exposed for tests.
Result<std::string> translate_regex(std::string_view pattern);

}  // namespace minnow::text
