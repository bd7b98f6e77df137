#include "text/pre_tokenizer.h"

#include <algorithm>

#include "text/byte_alphabet.h"
#include "text/utf8.h"

namespace minnow::text {
namespace {

using format::PrependScheme;
using format::PreTokenizerKind;
using format::SplitBehavior;

constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
// \w of Rust's regex crate, spelt out because PCRE2's \w lacks marks.
constexpr std::string_view kWords =
    R"([\p{L}\p{M}\p{N}\p{Pc}\x{200c}\x{200d}]+|[^\p{L}\p{M}\p{N}\p{Pc}\x{200c}\x{200d}\s]+)";
constexpr std::string_view kPunctuation = R"([!-/:-@\[-`{-~\p{P}])";

/// Collects the parts of one piece and applies the behaviour of Hugging Face's split.
class Splitter {
 public:
  Splitter(SplitBehavior behavior, bool invert, std::vector<Piece>& out)
      : behavior_(behavior), invert_(invert), out_(out), first_(out.size()) {}

  void part(size_t begin, size_t end, bool match) {
    match = match != invert_;
    if (begin == end) return;
    switch (behavior_) {
      case SplitBehavior::removed:
        if (!match) out_.push_back({begin, end});
        break;
      case SplitBehavior::isolated:
        out_.push_back({begin, end});
        break;
      case SplitBehavior::contiguous:
        if (has_previous() && match == previous_match_) {
          out_.back().end = end;
        } else {
          out_.push_back({begin, end});
        }
        break;
      case SplitBehavior::merged_with_previous:
        if (match && has_previous() && !previous_match_) {
          out_.back().end = end;
        } else {
          out_.push_back({begin, end});
        }
        break;
      case SplitBehavior::merged_with_next:
        if (!match && has_previous() && previous_match_) {
          out_.back().end = end;
        } else {
          out_.push_back({begin, end});
        }
        break;
    }
    previous_match_ = match;
  }

 private:
  bool has_previous() const { return out_.size() > first_; }

  SplitBehavior behavior_;
  bool invert_;
  std::vector<Piece>& out_;
  size_t first_;
  bool previous_match_ = false;
};

Status split_piece(std::string_view text, Piece piece, RegexMatcher& matcher, Splitter& splitter) {
  // Look-around must not see beyond the piece, so the piece is the whole subject.
  const std::string_view s = text.substr(piece.begin, piece.end - piece.begin);
  size_t done = 0, from = 0;
  while (from <= s.size()) {
    MINNOW_ASSIGN(const auto m, matcher.find(s, from));
    if (!m.found) break;
    if (m.begin == m.end) {
      if (m.end >= s.size()) break;
      from = m.end + utf8_length(s[m.end]);
      continue;
    }
    splitter.part(piece.begin + done, piece.begin + m.begin, false);
    splitter.part(piece.begin + m.begin, piece.begin + m.end, true);
    done = from = m.end;
  }
  splitter.part(piece.begin + done, piece.end, false);
  return {};
}

void split_piece(std::string_view text, Piece piece, std::string_view pattern, Splitter& splitter) {
  size_t done = piece.begin;
  for (;;) {
    const size_t at = text.substr(0, piece.end).find(pattern, done);
    if (at == std::string_view::npos) break;
    splitter.part(done, at, false);
    splitter.part(at, at + pattern.size(), true);
    done = at + pattern.size();
  }
  splitter.part(done, piece.end, false);
}

/// Rewrites every piece by `rewrite(piece text, is first piece, out)`.
template <typename F>
void rewrite_pieces(Pieces& p, F rewrite) {
  std::string out;
  out.reserve(p.text.size() + p.text.size() / 4);
  for (size_t i = 0; i < p.list.size(); ++i) {
    const size_t begin = out.size();
    const std::string_view piece =
        std::string_view(p.text).substr(p.list[i].begin, p.list[i].end - p.list[i].begin);
    rewrite(piece, p.at_start && p.list[i].begin == 0, out);
    p.list[i] = {begin, out.size()};
  }
  p.text = std::move(out);
}

}  // namespace

Result<PreTokenizer> PreTokenizer::create(std::span<const Step> steps, bool byte_level) {
  PreTokenizer t;
  for (size_t i = 0; i < steps.size(); ++i) {
    const Step& s = steps[i];
    Compiled c{s, false, {}, s.behavior, s.invert};
    std::string_view pattern;
    const bool needs_pattern = s.kind == PreTokenizerKind::split_string ||
                               s.kind == PreTokenizerKind::split_regex ||
                               s.kind == PreTokenizerKind::metaspace;
    if (needs_pattern && s.pattern.empty()) {
      return fail(Code::corrupt, "tokenizer: a pre_tokenizer splits at the empty string");
    }
    switch (s.kind) {
      case PreTokenizerKind::byte_level:
        if (!byte_level) return fail(Code::corrupt, "tokenizer: a byte_level step in a model that is not");
        t.alphabet_ = t.alphabet_ || i + 1 < steps.size();
        if (s.use_regex) pattern = kGpt2;
        c.behavior = SplitBehavior::isolated;
        c.invert = false;
        break;
      case PreTokenizerKind::split_regex:
        pattern = s.pattern;
        break;
      case PreTokenizerKind::digits:
        pattern = "\\p{N}";
        c.invert = false;
        break;
      case PreTokenizerKind::punctuation:
        pattern = kPunctuation;
        c.invert = false;
        break;
      case PreTokenizerKind::whitespace:
        pattern = kWords;
        c.behavior = SplitBehavior::removed;
        c.invert = true;
        break;
      case PreTokenizerKind::whitespace_split:
        pattern = "\\s";
        c.behavior = SplitBehavior::removed;
        c.invert = false;
        break;
      case PreTokenizerKind::split_string:
      case PreTokenizerKind::metaspace:
        if (find_invalid_utf8(s.pattern) != std::string_view::npos) {
          return fail(Code::corrupt, "tokenizer: a pre_tokenizer's pattern is not UTF-8");
        }
        break;
    }
    if (!pattern.empty()) {
      MINNOW_ASSIGN(c.regex, Regex::compile(pattern));
      c.has_regex = true;
    }
    t.steps_.push_back(std::move(c));
  }
  return t;
}

Status PreTokenizer::split(const Compiled& c, Pieces& p) const {
  std::vector<Piece> out;
  out.reserve(c.has_regex ? p.text.size() / 4 + 1 : p.list.size());
  if (c.has_regex) {
    RegexMatcher matcher(c.regex);
    for (const Piece piece : p.list) {
      Splitter splitter(c.behavior, c.invert, out);
      MINNOW_TRY(split_piece(p.text, piece, matcher, splitter));
    }
  } else {
    for (const Piece piece : p.list) {
      Splitter splitter(c.behavior, c.invert, out);
      split_piece(p.text, piece, c.step.pattern, splitter);
    }
  }
  p.list = std::move(out);
  return {};
}

Status PreTokenizer::apply(Pieces& p) const {
  p.list.clear();
  if (!p.text.empty()) p.list.push_back({0, p.text.size()});
  bool mapped = false;
  for (const Compiled& c : steps_) {
    switch (c.step.kind) {
      case PreTokenizerKind::byte_level:
        if (c.step.add_prefix_space) {
          rewrite_pieces(p, [](std::string_view piece, bool, std::string& out) {
            if (!piece.starts_with(' ')) out.push_back(' ');
            out.append(piece);
          });
        }
        if (c.has_regex) MINNOW_TRY(split(c, p));
        if (alphabet_) {
          rewrite_pieces(
              p, [](std::string_view piece, bool, std::string& out) { append_byte_alphabet(piece, out); });
          mapped = true;
        }
        break;
      case PreTokenizerKind::metaspace: {
        const std::string_view mark = c.step.pattern;
        const PrependScheme scheme = c.step.prepend_scheme;
        rewrite_pieces(p, [&](std::string_view piece, bool first, std::string& out) {
          const bool wanted = scheme == PrependScheme::always || (scheme == PrependScheme::first && first);
          if (wanted && !piece.starts_with(' ') && !piece.starts_with(mark)) out.append(mark);
          for (const char ch : piece) {
            if (ch == ' ') {
              out.append(mark);
            } else {
              out.push_back(ch);
            }
          }
        });
        if (c.step.split) {
          Compiled at_mark{c.step, false, {}, SplitBehavior::merged_with_next, false};
          MINNOW_TRY(split(at_mark, p));
        }
        break;
      }
      default:
        MINNOW_TRY(split(c, p));
    }
  }
  if (mapped) {
    rewrite_pieces(p, [](std::string_view piece, bool, std::string& out) {
      out.append(from_byte_alphabet(piece).value_or(std::string()));
    });
  }
  return {};
}

}  // namespace minnow::text
