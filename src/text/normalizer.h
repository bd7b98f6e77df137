// The normaliser: text to text, before pre-tokenisation (the "normalizer" of a tokenizer.json).
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "format/tokenizer_types.h"
#include "text/regex.h"

namespace minnow::text {

/// Immutable and thread-safe. Points into the strings of the steps it was created from.
class Normalizer {
 public:
  using Step = format::NormalizerStep<std::string_view>;
  static Result<Normalizer> create(std::span<const Step> steps);

  bool empty() const { return steps_.empty(); }
  /// `text` must be valid UTF-8; the result is, too.
  Status apply(std::string& text) const;

 private:
  std::vector<Step> steps_;
  std::vector<Regex> regexes_;  ///< one per replace_regex step, in order
};

}  // namespace minnow::text
