#include "compress/a2ats/facts_text.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace minnow::compress {
namespace {

constexpr size_t kStretch = 600;  // tokens of ordinary text between one set of questions and the next
constexpr size_t kFacts = 6;      // in a stretch

/// How a fact is told, and how it is asked for and answered. "#" is the key, "$" the value.
struct Wording {
  std::string_view told, asked;
};
constexpr std::array<Wording, 6> kWordings = {{
    {"The code for # is $.", "What is the code for #? The code for # is $."},
    {"Remember that # equals $.", "Recall: # equals $."},
    {"#: $", "#: $"},
    {"The number of # was $.", "Which number was that of #? The number of # was $."},
    {"Entry # contains $.", "Look up entry #. Entry # contains $."},
    {"The password to # is $.", "The password to # is $."},
}};

class Facts {
 public:
  Facts(const text::Tokenizer& tokenizer, const Sequences& text, uint64_t seed)
      : tokenizer_(tokenizer), text_(text), rng_(seed), words_(words_of(text.front())) {}

  /// Ordinary text with facts in it, and all of them asked for behind it.
  Status stretch(std::vector<int32_t>& out) {
    const std::vector<int32_t>& from = text_[rng_() % text_.size()];
    const size_t length = std::min(kStretch, from.size());
    const auto begin = from.begin() + static_cast<long>(rng_() % (from.size() - length + 1));
    std::array<size_t, kFacts> cuts{};
    for (size_t& c : cuts) c = rng_() % (length + 1);
    std::sort(cuts.begin(), cuts.end());
    std::vector<std::string> questions;
    size_t done = 0;
    for (const size_t cut : cuts) {
      out.insert(out.end(), begin + static_cast<long>(done), begin + static_cast<long>(cut));
      done = cut;
      const Wording& w = kWordings[rng_() % kWordings.size()];
      const std::string key = this->key(), value = this->value();
      MINNOW_TRY(append("\n" + filled(w.told, key, value) + "\n", out));
      questions.push_back(filled(w.asked, key, value));
    }
    out.insert(out.end(), begin + static_cast<long>(done), begin + static_cast<long>(length));
    while (!questions.empty()) {
      const size_t i = rng_() % questions.size();
      MINNOW_TRY(append("\n" + questions[i] + "\n", out));
      questions.erase(questions.begin() + static_cast<long>(i));
    }
    return {};
  }

 private:
  Status append(const std::string& text, std::vector<int32_t>& out) const {
    std::vector<int32_t> tokens;
    MINNOW_TRY(tokenizer_.encode(text, false, false, tokens));
    out.insert(out.end(), tokens.begin(), tokens.end());
    return {};
  }
  static std::string filled(std::string_view wording, const std::string& key, const std::string& value) {
    std::string out;
    for (const char c : wording) out += c == '#' ? key : c == '$' ? value : std::string(1, c);
    return out;
  }
  std::string random(std::string_view alphabet, size_t length) {
    std::string out;
    for (size_t i = 0; i < length; ++i) out += alphabet[rng_() % alphabet.size()];
    return out;
  }
  std::string word() {
    return words_.empty() ? random("abcdefghijklmnopqrstuvwxyz", 5) : words_[rng_() % words_.size()];
  }
  std::string key() {
    switch (rng_() % 3) {
      case 0:
        return random("0123456789abcdef", 8);
      case 1:
        return word() + " " + random("0123456789", 3);
      default:
        break;
    }
    const std::string first = word();
    return first + " " + word();
  }
  std::string value() {
    constexpr std::string_view kHex = "0123456789abcdef";
    switch (rng_() % 4) {
      case 0:
        return random("0123456789", 4 + rng_() % 6);
      case 1:
        return random(kHex, 8);
      case 2:
        return random("abcdefghijklmnopqrstuvwxyz", 6);
      default:
        break;
    }
    const std::string head = random(kHex, 8), middle = random(kHex, 4);
    return head + "-" + middle + "-" + random(kHex, 4);
  }
  /// Lower-case words of a sequence, as often as they come.
  std::vector<std::string> words_of(const std::vector<int32_t>& tokens) const {
    std::vector<std::string> out(1);
    for (const char c : tokenizer_.decode(tokens, true) + " ") {
      if (c >= 'a' && c <= 'z') {
        out.back() += c;
      } else if (c != ' ' || out.back().size() < 4) {
        out.back().clear();
      } else {
        out.emplace_back();
      }
    }
    out.pop_back();
    return out;
  }

  const text::Tokenizer& tokenizer_;
  const Sequences& text_;
  std::mt19937_64 rng_;
  const std::vector<std::string> words_;
};

}  // namespace

Result<Sequences> facts_text(const text::Tokenizer& tokenizer, const Sequences& text, uint32_t tokens,
                             uint32_t length, uint64_t seed) {
  Facts facts(tokenizer, text, seed);
  Sequences out;
  for (size_t left = tokens; left > 0;) {
    const size_t most = std::min<size_t>(left, length);
    std::vector<int32_t>& sequence = out.emplace_back();
    while (sequence.size() < most) MINNOW_TRY(facts.stretch(sequence));
    sequence.resize(most);
    left -= most;
  }
  return out;
}

Result<Sequences> random_identifiers(const text::Tokenizer& tokenizer, uint32_t tokens, uint32_t length,
                                     uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::string all;
  constexpr size_t kParts[] = {8, 4, 4, 4, 12};
  while (all.size() < size_t{tokens} * 8) {  // digits make few characters a token: eight are more than enough
    for (size_t part = 0; part < std::size(kParts); ++part) {
      if (part > 0) all += '-';
      for (size_t i = 0; i < kParts[part]; ++i) all += "0123456789abcdef"[rng() % 16];
    }
    all += ", ";
  }
  std::vector<int32_t> ids;
  MINNOW_TRY(tokenizer.encode(all, false, false, ids));
  Sequences out;
  const size_t count = std::min<size_t>(ids.size(), tokens);
  for (size_t at = 0; at < count; at += length) {
    out.emplace_back(ids.begin() + static_cast<long>(at),
                     ids.begin() + static_cast<long>(std::min<size_t>(at + length, count)));
  }
  return out;
}

}  // namespace minnow::compress
