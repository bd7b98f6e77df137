#include "text/decoder.h"

#include "text/utf8.h"

namespace minnow::text {

using format::DecoderKind;
using format::PrependScheme;

Result<DecoderPlan> DecoderPlan::create(std::span<const Step> steps) {
  DecoderPlan p;
  const auto refused = [](std::string_view what) {
    return fail(Code::unsupported, "tokenizer: the decoder ", what, ", which minnow cannot stream");
  };
  bool fused = false;
  for (const Step& s : steps) {
    if (p.byte_level) return refused("has steps after byte_level");
    if (find_invalid_utf8(s.pattern) != std::string_view::npos ||
        find_invalid_utf8(s.content) != std::string_view::npos) {
      return fail(Code::corrupt, "tokenizer: a decoder step holds text that is not UTF-8");
    }
    if (fused) {
      if (s.kind == DecoderKind::fuse) continue;
      if (s.kind != DecoderKind::strip || p.strip_count != 0) return refused("changes the text after fuse");
      if (s.stop != 0) return refused("strips the end of the whole text");
      if (decode_utf8(s.pattern).length != s.pattern.size()) return refused("strips more than one character");
      p.strip_text = s.pattern;
      p.strip_count = s.start;
      continue;
    }
    switch (s.kind) {
      case DecoderKind::byte_level:
        if (&s != steps.data()) return refused("has steps before byte_level");
        p.byte_level = true;
        break;
      case DecoderKind::byte_fallback:
        if (p.byte_fallback) return refused("has byte_fallback twice");
        p.byte_fallback = true;
        break;
      case DecoderKind::fuse:
        fused = true;
        break;
      case DecoderKind::strip:
        if (decode_utf8(s.pattern).length != s.pattern.size())
          return refused("strips more than one character");
        [[fallthrough]];
      default:
        (p.byte_fallback ? p.after : p.before).push_back(s);
    }
  }
  return p;
}

void DecoderPlan::apply(std::span<const Step> steps, bool first, std::string& token) {
  for (const Step& s : steps) {
    if (s.kind == DecoderKind::strip) {
      const size_t width = s.pattern.size();
      for (uint32_t i = 0; i < s.start && std::string_view(token).starts_with(s.pattern); ++i)
        token.erase(0, width);
      for (uint32_t i = 0; i < s.stop && std::string_view(token).ends_with(s.pattern); ++i) {
        token.resize(token.size() - width);
      }
      continue;
    }
    // Metaspace drops every mark of the first token, where encoding may have put one.
    const bool drop = s.kind == DecoderKind::metaspace && first && s.prepend_scheme != PrependScheme::never;
    const std::string_view content = s.kind == DecoderKind::replace ? s.content
                                     : drop                         ? std::string_view()
                                                                    : std::string_view(" ");
    size_t at = token.find(s.pattern);
    while (at != std::string::npos) {
      token.replace(at, s.pattern.size(), content);
      at = token.find(s.pattern, at + content.size());
    }
  }
}

int byte_of_token(std::string_view t) {
  if (t.size() != 6 || !t.starts_with("<0x") || t[5] != '>') return -1;
  int value = 0;
  for (const char c : t.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

void DecoderState::emit(std::string_view text, std::string& out) {
  while (strip_left_ > 0 && !text.empty()) {
    if (!text.starts_with(plan_->strip_text)) {
      strip_left_ = 0;
      break;
    }
    text.remove_prefix(plan_->strip_text.size());
    --strip_left_;
  }
  append_lossy(text, out);
}

void DecoderState::emit_token(std::string&& text, std::string& out) {
  DecoderPlan::apply(plan_->after, first_, text);
  emit(text, out);
}

/// Hands out what of pending_ is certain; keeps an unfinished character. one_by_one: each invalid byte
/// gets its own U+FFFD, else each maximal invalid part does.
void DecoderState::emit_whole_characters(bool one_by_one, std::string& out) {
  size_t i = 0;
  const std::string_view s = pending_;
  while (i < s.size()) {
    const Utf8Char c = decode_utf8(s.substr(i, 4));
    if (c.incomplete) break;
    if (c.valid) {
      emit(s.substr(i, c.length), out);
    } else {
      for (uint32_t n = one_by_one ? c.length : 1; n > 0; --n) emit(kReplacement, out);
    }
    i += c.length;
  }
  pending_.erase(0, i);
}

void DecoderState::end_run(std::string& out) {
  if (pending_.empty()) return;
  if (find_invalid_utf8(pending_) == std::string_view::npos) {
    emit_token(std::string(pending_), out);
  } else {
    for (size_t i = 0; i < pending_.size(); ++i) emit_token(std::string(kReplacement), out);
  }
  pending_.clear();
}

void DecoderState::push(std::string_view token, std::string& out) {
  if (plan_->byte_level) {
    pending_.append(token);
    emit_whole_characters(false, out);
    return;
  }
  std::string text(token);
  DecoderPlan::apply(plan_->before, first_, text);
  const int byte = plan_->byte_fallback ? byte_of_token(text) : -1;
  if (byte >= 0) {
    pending_.push_back(static_cast<char>(byte));
    if (!exact_) emit_whole_characters(true, out);
  } else {
    end_run(out);
    emit_token(std::move(text), out);
  }
  first_ = false;
}

void DecoderState::flush(std::string& out) {
  if (plan_->byte_level) {
    append_lossy(pending_, out);
    pending_.clear();
  } else {
    end_run(out);
  }
}

}  // namespace minnow::text
