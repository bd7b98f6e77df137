// The pre-tokenizer: cuts normalised text into pieces; merges never cross a cut.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "format/tokenizer_types.h"
#include "text/regex.h"

namespace minnow::text {

struct Piece {
  size_t begin = 0, end = 0;
};

/// Text and the pieces it is cut into, in order. Steps may rewrite both.
struct Pieces {
  std::string text;
  std::vector<Piece> list;
  bool at_start = true;  ///< the text begins where the whole input begins (metaspace "first")
};

/// Immutable and thread-safe. Points into the strings of the steps it was created from.
class PreTokenizer {
 public:
  using Step = format::PreTokenizerStep<std::string_view>;
  /// `byte_level`: the model works on bytes, so byte_level steps leave real bytes behind.
  static Result<PreTokenizer> create(std::span<const Step> steps, bool byte_level);

  /// `pieces.text` is valid UTF-8 and `list` is ignored on entry.
  Status apply(Pieces& pieces) const;

 private:
  struct Compiled {
    Step step;
    bool has_regex = false;
    Regex regex;
    format::SplitBehavior behavior{};
    bool invert = false;
  };
  Status split(const Compiled& c, Pieces& pieces) const;

  std::vector<Compiled> steps_;
  bool alphabet_ = false;  ///< steps after byte_level see the byte alphabet, undone at the end
};

}  // namespace minnow::text
