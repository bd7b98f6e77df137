#include "text/tokenizer.h"

#include <algorithm>

#include "text/bpe.h"
#include "text/utf8.h"

namespace minnow::text {
namespace {

constexpr size_t kMaxInput = size_t{1} << 29;

}  // namespace

Result<std::unique_ptr<const Tokenizer>> Tokenizer::create(format::TokenizerView view) {
  std::unique_ptr<Tokenizer> t(new Tokenizer);
  t->view_ = std::move(view);
  const format::TokenizerView& v = t->view_;
  for (const auto& token : v.added_tokens) {
    if (find_invalid_utf8(token.match) != std::string_view::npos) {
      return fail(Code::corrupt, "tokenizer: the added token ", token.id, " is not UTF-8");
    }
  }
  t->added_ = AddedTokens(v.added_tokens);
  MINNOW_ASSIGN(t->normalizer_, Normalizer::create(v.normalizer));
  MINNOW_ASSIGN(t->pre_tokenizer_, PreTokenizer::create(v.pre_tokenizer, v.byte_level));
  MINNOW_ASSIGN(t->decoder_, DecoderPlan::create(v.decoder));
  return std::unique_ptr<const Tokenizer>(std::move(t));
}

Status Tokenizer::encode_section(std::string_view section, bool at_start, bool parse_special, Bpe& bpe,
                                 std::vector<int32_t>& out) const {
  std::string normalized(section);
  MINNOW_TRY(normalizer_.apply(normalized));
  if (normalized.size() > 4 * kMaxInput) {
    return fail(Code::unsupported, "the tokenizer's normaliser makes the text too long");
  }
  std::vector<Section> sections;
  added_.split(normalized, true, parse_special, sections);
  for (const Section& s : sections) {
    if (s.id != format::kNoToken) {
      out.push_back(static_cast<int32_t>(s.id));
      continue;
    }
    Pieces pieces;
    // Moved only when this is the one section, so never looked at again.
    // NOLINTNEXTLINE(bugprone-use-after-move,clang-analyzer-cplusplus.Move)
    pieces.text = sections.size() == 1 ? std::move(normalized) : normalized.substr(s.begin, s.end - s.begin);
    pieces.at_start = at_start && s.begin == 0;
    MINNOW_TRY(pre_tokenizer_.apply(pieces));
    const std::string_view text = pieces.text;
    for (const Piece p : pieces.list) bpe.encode(text.substr(p.begin, p.end - p.begin), out);
  }
  return {};
}

Status Tokenizer::encode(std::string_view text, bool add_special, bool parse_special,
                         std::vector<int32_t>& out) const {
  const size_t bad = find_invalid_utf8(text);
  if (bad != std::string_view::npos) {
    return fail(Code::invalid_argument, "the text is not valid UTF-8 at byte ", bad,
                "; convert it to UTF-8 first");
  }
  if (text.size() > kMaxInput) {
    return fail(Code::invalid_argument, "the text has ", text.size(), " bytes; at most ", kMaxInput,
                " can be tokenised at once");
  }
  if (add_special) out.insert(out.end(), view_.prefix_ids.begin(), view_.prefix_ids.end());
  std::vector<Section> sections;
  added_.split(text, false, parse_special, sections);
  Bpe bpe(view_);
  for (const Section& s : sections) {
    if (s.id != format::kNoToken) {
      out.push_back(static_cast<int32_t>(s.id));
      continue;
    }
    MINNOW_TRY(encode_section(text.substr(s.begin, s.end - s.begin), s.begin == 0, parse_special, bpe, out));
  }
  if (add_special) out.insert(out.end(), view_.suffix_ids.begin(), view_.suffix_ids.end());
  return {};
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string out;
  DecoderState state(decoder_, true, true);
  for (const int32_t id : ids) {
    if (id < 0 || id >= size() || (skip_special && is_special(id))) continue;
    state.push(view_.token(static_cast<uint32_t>(id)), out);
  }
  state.flush(out);
  return out;
}

std::string Tokenizer::token_bytes(int32_t id) const {
  if (id < 0 || id >= size()) return {};
  std::string token(view_.token(static_cast<uint32_t>(id)));
  if (decoder_.byte_level) return token;
  DecoderPlan::apply(decoder_.before, false, token);
  const int byte = decoder_.byte_fallback ? byte_of_token(token) : -1;
  if (byte >= 0) return std::string(1, static_cast<char>(byte));
  DecoderPlan::apply(decoder_.after, false, token);
  return token;
}

std::string_view Tokenizer::token_text(int32_t id) const {
  return id < 0 || id >= size() ? std::string_view() : view_.token(static_cast<uint32_t>(id));
}

std::optional<int32_t> Tokenizer::find(std::string_view token) const {
  for (const auto& t : view_.added_tokens) {
    if (t.content == token) return static_cast<int32_t>(t.id);
  }
  const uint32_t id = view_.find_token(token);
  if (id == format::kNoToken) return std::nullopt;
  return static_cast<int32_t>(id);
}

bool Tokenizer::is_end(int32_t id) const {
  return id >= 0 && std::find(view_.end_ids.begin(), view_.end_ids.end(), static_cast<uint32_t>(id)) !=
                        view_.end_ids.end();
}

void StreamDecoder::push(int32_t id, std::string& out) {
  const Tokenizer& t = *tokenizer_;
  if (id < 0 || id >= t.size() || (skip_special_ && t.is_special(id))) return;
  state_.push(t.view_.token(static_cast<uint32_t>(id)), out);
}

}  // namespace minnow::text
