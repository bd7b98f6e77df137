#include "format/tokenizer_view.h"

#include <bit>
#include <cmath>
#include <type_traits>

#include "tokenizer_generated.h"

namespace minnow::format {
namespace {

namespace fb = minnow::schema;
static_assert(std::endian::native == std::endian::little, "the .mnw format is little-endian");

std::string_view text(const flatbuffers::String* s) {
  return s == nullptr ? std::string_view() : std::string_view(s->c_str(), s->size());
}

template <typename T>
std::span<const T> span_of(const flatbuffers::Vector<T>* v) {
  return v == nullptr ? std::span<const T>() : std::span<const T>(v->data(), v->size());
}

template <typename T, typename U>
Result<T> enum_of(U value, U last, std::string_view field) {
  if (value > last) {
    return fail(Code::unsupported, "tokenizer: ", field, " has value ", static_cast<uint32_t>(value),
                ", which this version of minnow does not know; update minnow");
  }
  return static_cast<T>(value);
}

Status check_ids(std::span<const uint32_t> ids, uint32_t tokens, std::string_view field) {
  for (const uint32_t id : ids) {
    if (id >= tokens) {
      return fail(Code::corrupt, "tokenizer: ", field, " names token ", id, " of ", tokens);
    }
  }
  return {};
}

/// Slots hold index + 1; an empty one must exist, or a probe for an absent key would not end.
Status check_slots(std::span<const uint32_t> slots, size_t entries, std::string_view field) {
  if (!std::has_single_bit(slots.size())) {
    return fail(Code::corrupt, "tokenizer: ", field, " has ", slots.size(), " slots, not a power of two");
  }
  bool empty = false;
  for (const uint32_t s : slots) {
    if (s > entries)
      return fail(Code::corrupt, "tokenizer: ", field, " points at entry ", s, " of ", entries);
    empty = empty || s == 0;
  }
  if (!empty) return fail(Code::corrupt, "tokenizer: ", field, " has no empty slot");
  return {};
}

Status check_special(int32_t id, uint32_t tokens, std::string_view field) {
  if (id < -1 || (id >= 0 && static_cast<uint32_t>(id) >= tokens)) {
    return fail(Code::corrupt, "tokenizer: ", field, " is ", id, ", outside the ", tokens, " tokens");
  }
  return {};
}

Status check_tables(const TokenizerView& v) {
  if (v.token_offsets.empty()) return fail(Code::corrupt, "tokenizer: token_offsets is empty");
  if (v.token_offsets.front() != 0 || v.token_offsets.back() != v.token_bytes.size()) {
    return fail(Code::corrupt, "tokenizer: token_offsets do not cover the ", v.token_bytes.size(),
                " token bytes");
  }
  for (size_t i = 1; i < v.token_offsets.size(); ++i) {
    if (v.token_offsets[i] < v.token_offsets[i - 1]) {
      return fail(Code::corrupt, "tokenizer: token_offsets decrease at token ", i - 1);
    }
  }
  const uint32_t n = v.size();
  if (n > 0x7FFFFFFFu) return fail(Code::corrupt, "tokenizer: ", n, " tokens, more than ids can name");
  MINNOW_TRY(check_slots(v.token_slots, n, "token_slots"));
  if (v.merge_pairs.size() != 2 * v.merge_results.size()) {
    return fail(Code::corrupt, "tokenizer: ", v.merge_pairs.size(), " ids in merge_pairs for ",
                v.merge_results.size(), " merge_results");
  }
  MINNOW_TRY(check_ids(v.merge_pairs, n, "merge_pairs"));
  MINNOW_TRY(check_ids(v.merge_results, n, "merge_results"));
  MINNOW_TRY(check_slots(v.merge_slots, v.merge_results.size(), "merge_slots"));
  if (v.kind == TokenizerKind::spm_scores && v.token_scores.size() != n) {
    return fail(Code::corrupt, "tokenizer: ", v.token_scores.size(), " scores for ", n, " tokens");
  }
  for (const float s : v.token_scores) {
    if (std::isnan(s)) return fail(Code::corrupt, "tokenizer: a token score is not a number");
  }
  if (!v.byte_ids.empty() && v.byte_ids.size() != 256) {
    return fail(Code::corrupt, "tokenizer: byte_ids has ", v.byte_ids.size(), " entries, not 256");
  }
  for (const uint32_t id : v.byte_ids) {
    if (id != kNoToken && id >= n)
      return fail(Code::corrupt, "tokenizer: byte_ids names token ", id, " of ", n);
  }
  if ((v.byte_level || v.byte_fallback) && v.byte_ids.empty()) {
    return fail(Code::corrupt, "tokenizer: byte_ids is missing");
  }
  MINNOW_TRY(check_ids(v.prefix_ids, n, "prefix_ids"));
  MINNOW_TRY(check_ids(v.suffix_ids, n, "suffix_ids"));
  MINNOW_TRY(check_ids(v.end_ids, n, "end_ids"));
  MINNOW_TRY(check_ids(v.chat.stop_ids, n, "chat.stop_ids"));
  MINNOW_TRY(check_special(v.bos_id, n, "bos_id"));
  MINNOW_TRY(check_special(v.eos_id, n, "eos_id"));
  MINNOW_TRY(check_special(v.pad_id, n, "pad_id"));
  MINNOW_TRY(check_special(v.unk_id, n, "unk_id"));
  for (size_t i = 0; i < v.added_tokens.size(); ++i) {
    const auto& t = v.added_tokens[i];
    if (t.id >= n || t.match.empty()) {
      return fail(Code::corrupt, "tokenizer: added token ", i, " is empty or has id ", t.id, " of ", n);
    }
    if (i > 0 && t.match < v.added_tokens[i - 1].match) {
      return fail(Code::corrupt, "tokenizer: added tokens are not sorted at ", i);
    }
  }
  return {};
}

Status read_steps(const fb::Tokenizer& t, TokenizerView& v) {
  if (t.normalizer() != nullptr) {
    for (const auto* s : *t.normalizer()) {
      MINNOW_ASSIGN(const auto kind,
                    enum_of<NormalizerKind>(s->kind(), fb::NormalizerKind::MAX, "normalizer"));
      v.normalizer.push_back({kind, text(s->pattern()), text(s->content()), s->left(), s->right()});
      if (kind == NormalizerKind::replace_string && text(s->pattern()).empty()) {
        return fail(Code::corrupt, "tokenizer: a normalizer replaces the empty string");
      }
    }
  }
  if (t.pre_tokenizer() != nullptr) {
    for (const auto* s : *t.pre_tokenizer()) {
      MINNOW_ASSIGN(const auto kind,
                    enum_of<PreTokenizerKind>(s->kind(), fb::PreTokenizerKind::MAX, "pre_tokenizer"));
      MINNOW_ASSIGN(const auto behavior,
                    enum_of<SplitBehavior>(s->behavior(), fb::SplitBehavior::MAX, "split behavior"));
      MINNOW_ASSIGN(const auto scheme,
                    enum_of<PrependScheme>(s->prepend_scheme(), fb::PrependScheme::MAX, "prepend_scheme"));
      const bool needs_pattern = kind == PreTokenizerKind::split_string ||
                                 kind == PreTokenizerKind::split_regex || kind == PreTokenizerKind::metaspace;
      if (needs_pattern && text(s->pattern()).empty()) {
        return fail(Code::corrupt, "tokenizer: a pre_tokenizer splits at the empty string");
      }
      v.pre_tokenizer.push_back({kind, text(s->pattern()), behavior, s->invert(), s->add_prefix_space(),
                                 s->use_regex(), scheme, s->split()});
    }
  }
  if (t.decoder() != nullptr) {
    for (const auto* s : *t.decoder()) {
      MINNOW_ASSIGN(const auto kind, enum_of<DecoderKind>(s->kind(), fb::DecoderKind::MAX, "decoder"));
      MINNOW_ASSIGN(const auto scheme,
                    enum_of<PrependScheme>(s->prepend_scheme(), fb::PrependScheme::MAX, "prepend_scheme"));
      const bool needs_pattern =
          kind == DecoderKind::metaspace || kind == DecoderKind::replace || kind == DecoderKind::strip;
      if (needs_pattern && text(s->pattern()).empty()) {
        return fail(Code::corrupt, "tokenizer: a decoder step looks for the empty string");
      }
      v.decoder.push_back({kind, text(s->pattern()), text(s->content()), s->start(), s->stop(), scheme});
    }
  }
  if (t.added_tokens() != nullptr) {
    v.added_tokens.reserve(t.added_tokens()->size());
    for (const auto* a : *t.added_tokens()) {
      v.added_tokens.push_back({a->id(), text(a->content()), text(a->match()), a->special(), a->lstrip(),
                                a->rstrip(), a->single_word(), a->normalized()});
    }
  }
  return {};
}

Status read_chat(const fb::ChatFormat* c, ChatFormat<std::string_view>& out) {
  if (c == nullptr) return {};
  // A kind of a newer minnow still renders: the prefixes and suffixes say all.
  out.kind = fb::EnumNameChatKind(c->kind())[0] != '\0' ? static_cast<ChatKind>(c->kind()) : ChatKind::custom;
  MINNOW_ASSIGN(out.system, enum_of<ChatSystem>(c->system(), fb::ChatSystem::MAX, "chat.system"));
  out.name = text(c->name());
  out.begin = text(c->begin());
  out.system_prefix = text(c->system_prefix());
  out.system_suffix = text(c->system_suffix());
  out.user_prefix = text(c->user_prefix());
  out.user_suffix = text(c->user_suffix());
  out.assistant_prefix = text(c->assistant_prefix());
  out.assistant_suffix = text(c->assistant_suffix());
  out.generation_prompt = text(c->generation_prompt());
  out.has_default_system = c->has_default_system();
  out.default_system = text(c->default_system());
  out.trim = c->trim();
  if (c->stop_strings() != nullptr) {
    for (const auto* s : *c->stop_strings()) out.stop_strings.push_back(text(s));
  }
  const auto ids = span_of(c->stop_ids());
  out.stop_ids.assign(ids.begin(), ids.end());
  out.template_text = text(c->template_text());
  return {};
}

/// Makes the tables that a compact tokenizer leaves out, and lets the view point into them.
Status expand(const fb::Tokenizer& t, TokenizerView& v) {
  const auto lengths = span_of(t.token_lengths());
  const auto pairs = span_of(t.compact_pairs()), results = span_of(t.compact_results());
  const auto n = static_cast<uint32_t>(lengths.size());
  if (n > kCompactVocabulary || pairs.size() % 2 != 0 || pairs.size() / 2 > (1u << 20) ||
      (!results.empty() && results.size() != pairs.size() / 2) ||
      (results.empty() && uint64_t{t.first_result()} + pairs.size() / 2 > n && !pairs.empty())) {
    return fail(Code::corrupt, "tokenizer: the compact tables contradict each other (", n, " tokens, ",
                pairs.size(), " ids of pairs, ", results.size(), " results)");
  }
  auto tables = std::make_shared<TokenizerTables>();
  tables->merge_pairs.assign(pairs.begin(), pairs.end());
  tables->merge_results.assign(results.begin(), results.end());
  for (uint32_t i = 0; results.empty() && i < pairs.size() / 2; ++i)
    tables->merge_results.push_back(t.first_result() + i);
  MINNOW_TRY(check_ids(tables->merge_pairs, n, "compact_pairs"));
  MINNOW_TRY(check_ids(tables->merge_results, n, "compact_results"));
  MINNOW_TRY(expand_tokens(v.token_bytes, lengths, tables->merge_pairs, tables->merge_results,
                           tables->token_bytes, tables->token_offsets));
  std::vector<uint8_t> findable(n, 1);
  for (const uint32_t id : span_of(t.unfindable())) {
    if (id >= n) return fail(Code::corrupt, "tokenizer: unfindable names token ", id, " of ", n);
    findable[id] = 0;
  }
  tables->token_slots = make_token_slots(tables->token_bytes, tables->token_offsets, findable);
  tables->merge_slots = make_merge_slots(tables->merge_pairs);
  v.token_bytes = tables->token_bytes;
  v.token_offsets = tables->token_offsets;
  v.token_slots = tables->token_slots;
  v.merge_pairs = tables->merge_pairs;
  v.merge_results = tables->merge_results;
  v.merge_slots = tables->merge_slots;
  v.tables = std::move(tables);
  return {};
}

}  // namespace

Result<TokenizerView> TokenizerView::open(std::span<const std::byte> bytes) {
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  if (reinterpret_cast<uintptr_t>(data) % 8 != 0) {
    return fail(Code::invalid_argument, "tokenizer: the bytes must lie at an address divisible by 8");
  }
  if (bytes.size() < 16 || bytes.size() >= FLATBUFFERS_MAX_BUFFER_SIZE) {
    return fail(Code::corrupt, "tokenizer: ", bytes.size(), " bytes cannot hold one");
  }
  flatbuffers::Verifier verifier(data, bytes.size(), 16, 1u << 22);
  if (!fb::VerifyTokenizerBuffer(verifier)) {
    return fail(Code::corrupt, "tokenizer: the bytes are damaged or not a tokenizer (identifier MNTK)");
  }
  const fb::Tokenizer& t = *fb::GetTokenizer(data);
  TokenizerView v;
  MINNOW_ASSIGN(v.kind, enum_of<TokenizerKind>(t.kind(), fb::TokenizerKind::MAX, "kind"));
  v.byte_level = t.byte_level();
  v.byte_fallback = t.byte_fallback();
  v.ignore_merges = t.ignore_merges();
  v.fuse_unk = t.fuse_unk();
  const auto blob = span_of(t.token_bytes());
  v.token_bytes = {reinterpret_cast<const char*>(blob.data()), blob.size()};
  v.token_offsets = span_of(t.token_offsets());
  v.token_scores = span_of(t.token_scores());
  v.token_slots = span_of(t.token_slots());
  v.merge_pairs = span_of(t.merge_pairs());
  v.merge_results = span_of(t.merge_results());
  v.merge_slots = span_of(t.merge_slots());
  v.byte_ids = span_of(t.byte_ids());
  if (t.token_lengths() != nullptr && t.token_lengths()->size() != 0) MINNOW_TRY(expand(t, v));
  MINNOW_TRY(read_steps(t, v));
  v.prefix_ids = span_of(t.prefix_ids());
  v.suffix_ids = span_of(t.suffix_ids());
  v.bos_id = t.bos_id();
  v.eos_id = t.eos_id();
  v.pad_id = t.pad_id();
  v.unk_id = t.unk_id();
  v.end_ids = span_of(t.end_ids());
  v.add_bos = t.add_bos();
  MINNOW_TRY(read_chat(t.chat(), v.chat));
  MINNOW_TRY(check_tables(v));
  return v;
}

uint32_t TokenizerView::find_token(std::string_view bytes) const {
  const size_t mask = token_slots.size() - 1;
  for (size_t s = hash_bytes(bytes) & mask; token_slots[s] != 0; s = (s + 1) & mask) {
    if (token(token_slots[s] - 1) == bytes) return token_slots[s] - 1;
  }
  return kNoToken;
}

uint32_t TokenizerView::find_merge(uint32_t left, uint32_t right) const {
  const size_t mask = merge_slots.size() - 1;
  for (size_t s = hash_pair(left, right) & mask; merge_slots[s] != 0; s = (s + 1) & mask) {
    const size_t rank = merge_slots[s] - 1;
    if (merge_pairs[2 * rank] == left && merge_pairs[2 * rank + 1] == right) return merge_slots[s] - 1;
  }
  return kNoToken;
}

}  // namespace minnow::format
