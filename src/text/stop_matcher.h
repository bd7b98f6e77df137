// Finds stop strings in streamed text, holding back what may be the beginning of one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace minnow::text {

/// Not thread-safe. Text in must be whole UTF-8 characters; then so is the text out.
class StopMatcher {
 public:
  StopMatcher() = default;
  /// Empty stop strings are ignored.
  explicit StopMatcher(std::vector<std::string> stops);

  /// Appends to `out` the text that cannot belong to a stop string. Returns true once one was found:
  /// the text up to it has been given out, the rest is dropped.
  bool push(std::string_view text, std::string& out);
  /// The stream ended without a stop string: appends what was held back.
  void flush(std::string& out);
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace minnow::text
