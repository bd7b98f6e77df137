#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <new>

namespace minnow::text {
namespace {

// Unicode's White_Space; PCRE2's \s would add U+180E.
constexpr std::string_view kSpaceSet =
    "\\t-\\r\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}";
// A real pattern needs far fewer steps per match; this keeps a hostile one to a fraction of a second.
constexpr uint32_t kMatchLimit = 10'000'000;
constexpr uint32_t kHeapLimitKiB = 64 * 1024;
constexpr size_t kMaxPattern = 64 * 1024;

Status refused(std::string_view pattern, std::string_view what) {
  return fail(Code::unsupported, "the tokenizer's regular expression '", pattern, "' uses ", what,
              ", which minnow does not support");
}

/// Reads \uXXXX at `i` (after the u). False when there are no four hexadecimal digits.
bool is_hex4(std::string_view p, size_t i) {
  if (i + 4 > p.size()) return false;
  return p.substr(i, 4).find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos;
}

}  // namespace

Result<std::string> translate_regex(std::string_view p) {
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < p.size(); ++i) {
    const char c = p[i];
    if (c == '\\') {
      if (i + 1 >= p.size()) return refused(p, "a backslash at its end");
      const char e = p[++i];
      if (e == 's') {
        out.append(in_class ? std::string(kSpaceSet) : cat("[", kSpaceSet, "]"));
      } else if (e == 'S' && !in_class) {
        out.append(cat("[^", kSpaceSet, "]"));
      } else if (e == 'u' && is_hex4(p, i + 1)) {
        out.append(cat("\\x{", p.substr(i + 1, 4), "}"));
        i += 4;
      } else if (e == 'h' || e == 'H' || e == 'Q' || e == 'E' || e == 'M' || e == 'C' || e == 'y' ||
                 e == 'Y') {
        return refused(p, cat("\\", e));
      } else {
        out.push_back('\\');
        out.push_back(e);
      }
      continue;
    }
    if (!in_class && c == '[') {
      in_class = true;
      out.push_back(c);
      // A ']' right after '[' or '[^' is literal for PCRE2 and an error or literal for Oniguruma.
      if (i + 1 < p.size() && p[i + 1] == '^') out.push_back(p[++i]);
      if (i + 1 < p.size() && p[i + 1] == ']') return refused(p, "an empty character class");
      continue;
    }
    if (in_class) {
      if (c == ']') in_class = false;
      if (c == '&' && i + 1 < p.size() && p[i + 1] == '&') return refused(p, "a class intersection (&&)");
      if (c == '[') {
        const size_t close =
            i + 1 < p.size() && p[i + 1] == ':' ? p.find(":]", i + 2) : std::string_view::npos;
        if (close == std::string_view::npos) return refused(p, "a class inside a class");
        out.append(p.substr(i, close + 2 - i));
        i = close + 1;
        continue;
      }
    } else if (c == '(' && i + 1 < p.size() && p[i + 1] == '*') {
      return refused(p, "a control verb (*...)");
    }
    out.push_back(c);
  }
  return out;
}

Result<Regex> Regex::compile(std::string_view pattern) {
  if (pattern.size() > kMaxPattern) {
    return fail(Code::unsupported, "a tokenizer's regular expression has ", pattern.size(),
                " bytes; the most is ", kMaxPattern);
  }
  MINNOW_ASSIGN(const std::string translated, translate_regex(pattern));
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  if (context == nullptr) return fail(Code::no_memory, "no memory for a regular expression");
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  // Oniguruma's ^ and $ always match at lines. \C could split characters, so it is off.
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
                                   &offset, context);
  pcre2_compile_context_free(context);
  if (code == nullptr) {
    PCRE2_UCHAR message[128] = {};
    pcre2_get_error_message(error, message, sizeof message);
    return fail(Code::unsupported, "the tokenizer's regular expression '", pattern,
                "' does not compile: ", reinterpret_cast<const char*>(message), " at ", offset);
  }
  // Without JIT (some platforms forbid it) PCRE2 interprets; the results are the same.
  (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  Regex r;
  r.code_ = std::shared_ptr<const pcre2_real_code_8>(
      code, [](const pcre2_code* c) { pcre2_code_free(const_cast<pcre2_code*>(c)); });
  return r;
}

struct RegexMatcher::Impl {
  std::shared_ptr<const pcre2_real_code_8> code;
  pcre2_match_data* data = nullptr;
  pcre2_match_context* context = nullptr;
  ~Impl() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
  }
};

RegexMatcher::RegexMatcher(const Regex& regex) : impl_(new Impl) {
  impl_->code = regex.code_;
  impl_->data = pcre2_match_data_create_from_pattern(regex.code_.get(), nullptr);
  impl_->context = pcre2_match_context_create(nullptr);
  if (impl_->context != nullptr) {
    pcre2_set_match_limit(impl_->context, kMatchLimit);
    pcre2_set_depth_limit(impl_->context, kMatchLimit);
    pcre2_set_heap_limit(impl_->context, kHeapLimitKiB);
  }
}

RegexMatcher::~RegexMatcher() = default;

Result<RegexMatcher::Match> RegexMatcher::find(std::string_view subject, size_t start) {
  if (impl_->data == nullptr || impl_->context == nullptr) {
    return fail(Code::no_memory, "no memory for matching a regular expression");
  }
  const auto* s = reinterpret_cast<PCRE2_SPTR>(subject.data());
  int rc = pcre2_match(impl_->code.get(), s, subject.size(), start, PCRE2_NO_UTF_CHECK, impl_->data,
                       impl_->context);
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {  // the interpreter uses the heap instead
    rc = pcre2_match(impl_->code.get(), s, subject.size(), start, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                     impl_->data, impl_->context);
  }
  if (rc == PCRE2_ERROR_NOMATCH) return Match{};
  if (rc < 0) {
    PCRE2_UCHAR message[128] = {};
    pcre2_get_error_message(rc, message, sizeof message);
    return fail(Code::unsupported, "the tokenizer's regular expression failed on the text after byte ", start,
                ": ", reinterpret_cast<const char*>(message), "; give the text in smaller parts");
  }
  const PCRE2_SIZE* v = pcre2_get_ovector_pointer(impl_->data);
  // \K inside a look-around can put the end before the start or the start before where we began.
  if (v[0] > v[1] || v[0] < start) {
    return fail(Code::unsupported, "the tokenizer's regular expression moves its match backwards (\\K)");
  }
  return Match{true, v[0], v[1]};
}

}  // namespace minnow::text
