// From tokens back to text: the "decoder" of a tokenizer.json, made to work token by token.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "format/tokenizer_types.h"

namespace minnow::text {

/// The steps, checked to be of a form that can stream: [byte_level] or [steps on single tokens,
/// byte_fallback, steps on single tokens, fuse, strip at the start]. Immutable, thread-safe.
struct DecoderPlan {
  using Step = format::DecoderStep<std::string_view>;
  static Result<DecoderPlan> create(std::span<const Step> steps);

  bool byte_level = false;
  bool byte_fallback = false;
  std::vector<Step> before, after;  ///< steps on single tokens, around byte_fallback
  std::string_view strip_text;      ///< one character, removed up to strip_count times at the start
  uint32_t strip_count = 0;

  /// One token through `steps`. `first`: it is the first of the sequence.
  static void apply(std::span<const Step> steps, bool first, std::string& token);
};

/// The byte that a token like "<0x0A>" stands for, or -1.
int byte_of_token(std::string_view token);

/// The state between tokens. Not thread-safe.
class DecoderState {
 public:
  /// exact: a run of byte tokens is judged as a whole when it ends, as Hugging Face's decode does.
  /// Otherwise whole characters come out at once, and only the bytes that form none become U+FFFD.
  DecoderState(const DecoderPlan& plan, bool at_start, bool exact)
      : plan_(&plan), exact_(exact), first_(at_start), strip_left_(at_start ? plan.strip_count : 0) {}

  void push(std::string_view token, std::string& out);
  void flush(std::string& out);

 private:
  void end_run(std::string& out);
  void emit(std::string_view text, std::string& out);
  void emit_token(std::string&& text, std::string& out);
  void emit_whole_characters(bool one_by_one, std::string& out);

  const DecoderPlan* plan_;
  bool exact_;
  bool first_;
  uint32_t strip_left_;
  std::string pending_;  ///< bytes that are no whole character yet
};

}  // namespace minnow::text
