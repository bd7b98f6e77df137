#include "format/tokenizer_builder.h"

#include <algorithm>
#include <numeric>

#include "format/tokenizer_view.h"
#include "tokenizer_generated.h"

namespace minnow::format {
namespace {

namespace fb = minnow::schema;
using Builder = flatbuffers::FlatBufferBuilder;
using String = flatbuffers::Offset<flatbuffers::String>;

template <typename T>
using Vector = flatbuffers::Offset<flatbuffers::Vector<T>>;

/// The tables over the vocabulary, in one of the two forms.
struct Tables {
  Vector<uint32_t> offsets, slots, pairs, results, merge_slots;
  Vector<uint8_t> lengths;
  Vector<uint16_t> small_pairs, small_results, unfindable;
  uint32_t first_result = 0;
};

Tables whole_tables(Builder& b, const TokenizerData& d, const std::vector<uint32_t>& pairs,
                    const std::vector<uint32_t>& results) {
  Tables t;
  t.offsets = b.CreateVector(d.token_offsets);
  t.slots = b.CreateVector(make_token_slots(d.token_bytes, d.token_offsets, d.token_findable));
  t.pairs = b.CreateVector(pairs);
  t.results = b.CreateVector(results);
  t.merge_slots = b.CreateVector(make_merge_slots(pairs));
  return t;
}

Tables compact_tables(Builder& b, const TokenizerData& d, const CompactTokens& tokens,
                      const std::vector<uint32_t>& pairs, const std::vector<uint32_t>& results) {
  Tables t;
  t.lengths = b.CreateVector(tokens.lengths);
  t.small_pairs = b.CreateVector(std::vector<uint16_t>(pairs.begin(), pairs.end()));
  bool consecutive = true;
  for (size_t i = 1; i < results.size(); ++i) consecutive = consecutive && results[i] == results[i - 1] + 1;
  if (consecutive && !results.empty()) t.first_result = results[0];
  t.small_results = b.CreateVector(consecutive ? std::vector<uint16_t>()
                                               : std::vector<uint16_t>(results.begin(), results.end()));
  std::vector<uint16_t> unfindable;
  for (uint32_t id = 0; id < d.size(); ++id) {
    if (d.token_findable[id] == 0) unfindable.push_back(static_cast<uint16_t>(id));
  }
  t.unfindable = b.CreateVector(unfindable);
  return t;
}

flatbuffers::Offset<fb::ChatFormat> build_chat(Builder& b, const ChatFormat<std::string>& c) {
  std::vector<String> stops;
  for (const auto& s : c.stop_strings) stops.push_back(b.CreateString(s));
  const auto stop_strings = b.CreateVector(stops);
  const auto stop_ids = b.CreateVector(c.stop_ids);
  const auto name = b.CreateString(c.name), begin = b.CreateString(c.begin),
             system_prefix = b.CreateString(c.system_prefix), system_suffix = b.CreateString(c.system_suffix),
             user_prefix = b.CreateString(c.user_prefix), user_suffix = b.CreateString(c.user_suffix),
             assistant_prefix = b.CreateString(c.assistant_prefix),
             assistant_suffix = b.CreateString(c.assistant_suffix),
             generation = b.CreateString(c.generation_prompt),
             default_system = b.CreateString(c.default_system),
             template_text = b.CreateString(c.template_text);
  return fb::CreateChatFormat(b, static_cast<fb::ChatKind>(c.kind), name, begin, system_prefix, system_suffix,
                              user_prefix, user_suffix, assistant_prefix, assistant_suffix, generation,
                              static_cast<fb::ChatSystem>(c.system), c.has_default_system, default_system,
                              c.trim, stop_strings, stop_ids, template_text);
}

Status check_input(const TokenizerData& d) {
  if (d.token_findable.size() != d.size())
    return fail(Code::internal, "token_findable does not fit the tokens");
  if (d.token_bytes.size() > (1u << 30)) {
    return fail(Code::unsupported, "the vocabulary has ", d.token_bytes.size(),
                " bytes; at most 2^30 can be stored");
  }
  return {};
}

}  // namespace

Result<std::vector<std::byte>> build_tokenizer(const TokenizerData& d) {
  MINNOW_TRY(check_input(d));
  Builder b(1 << 20);
  b.ForceDefaults(false);

  std::vector<flatbuffers::Offset<fb::NormalizerStep>> normalizer;
  for (const auto& s : d.normalizer) {
    const auto pattern = b.CreateString(s.pattern), content = b.CreateString(s.content);
    normalizer.push_back(fb::CreateNormalizerStep(b, static_cast<fb::NormalizerKind>(s.kind), pattern,
                                                  content, s.left, s.right));
  }
  std::vector<flatbuffers::Offset<fb::PreTokenizerStep>> pre_tokenizer;
  for (const auto& s : d.pre_tokenizer) {
    const auto pattern = b.CreateString(s.pattern);
    pre_tokenizer.push_back(
        fb::CreatePreTokenizerStep(b, static_cast<fb::PreTokenizerKind>(s.kind), pattern,
                                   static_cast<fb::SplitBehavior>(s.behavior), s.invert, s.add_prefix_space,
                                   s.use_regex, static_cast<fb::PrependScheme>(s.prepend_scheme), s.split));
  }
  std::vector<flatbuffers::Offset<fb::DecoderStep>> decoder;
  for (const auto& s : d.decoder) {
    const auto pattern = b.CreateString(s.pattern), content = b.CreateString(s.content);
    decoder.push_back(fb::CreateDecoderStep(b, static_cast<fb::DecoderKind>(s.kind), pattern, content,
                                            s.start, s.stop,
                                            static_cast<fb::PrependScheme>(s.prepend_scheme)));
  }

  std::vector<uint32_t> order(d.added_tokens.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t x, uint32_t y) { return d.added_tokens[x].match < d.added_tokens[y].match; });
  std::vector<flatbuffers::Offset<fb::AddedToken>> added;
  for (const uint32_t i : order) {
    const auto& t = d.added_tokens[i];
    const auto content = b.CreateString(t.content);
    const auto match = t.match == t.content ? content : b.CreateString(t.match);
    added.push_back(fb::CreateAddedToken(b, t.id, content, match, t.special, t.lstrip, t.rstrip,
                                         t.single_word, t.normalized));
  }

  std::vector<uint32_t> pairs, results;
  for (const Merge& m : d.merges) {
    pairs.insert(pairs.end(), {m.left, m.right});
    results.push_back(m.result);
  }
  const auto chat = build_chat(b, d.chat);
  CompactTokens small;
  const bool compact = d.size() != 0 && d.size() <= kCompactVocabulary && pairs.size() / 2 <= (1u << 20) &&
                       compact_tokens(d.token_bytes, d.token_offsets, pairs, results, small);
  const std::string& stored = compact ? small.bytes : d.token_bytes;
  const auto token_bytes = b.CreateVector(reinterpret_cast<const uint8_t*>(stored.data()), stored.size());
  const auto scores = b.CreateVector(d.token_scores);
  const Tables tables =
      compact ? compact_tables(b, d, small, pairs, results) : whole_tables(b, d, pairs, results);
  const auto byte_ids = b.CreateVector(d.byte_ids);
  const auto normalizer_v = b.CreateVector(normalizer);
  const auto pre_tokenizer_v = b.CreateVector(pre_tokenizer);
  const auto decoder_v = b.CreateVector(decoder);
  const auto added_v = b.CreateVector(added);
  const auto prefix = b.CreateVector(d.prefix_ids);
  const auto suffix = b.CreateVector(d.suffix_ids);
  const auto end_ids = b.CreateVector(d.end_ids);

  fb::TokenizerBuilder t(b);
  t.add_kind(static_cast<fb::TokenizerKind>(d.kind));
  t.add_byte_level(d.byte_level);
  t.add_byte_fallback(d.byte_fallback);
  t.add_ignore_merges(d.ignore_merges);
  t.add_fuse_unk(d.fuse_unk);
  t.add_token_bytes(token_bytes);
  t.add_token_scores(scores);
  if (compact) {
    t.add_token_lengths(tables.lengths);
    t.add_compact_pairs(tables.small_pairs);
    t.add_compact_results(tables.small_results);
    t.add_first_result(tables.first_result);
    t.add_unfindable(tables.unfindable);
  } else {
    t.add_token_offsets(tables.offsets);
    t.add_token_slots(tables.slots);
    t.add_merge_pairs(tables.pairs);
    t.add_merge_results(tables.results);
    t.add_merge_slots(tables.merge_slots);
  }
  t.add_byte_ids(byte_ids);
  t.add_normalizer(normalizer_v);
  t.add_pre_tokenizer(pre_tokenizer_v);
  t.add_decoder(decoder_v);
  t.add_added_tokens(added_v);
  t.add_prefix_ids(prefix);
  t.add_suffix_ids(suffix);
  t.add_bos_id(d.bos_id);
  t.add_eos_id(d.eos_id);
  t.add_pad_id(d.pad_id);
  t.add_unk_id(d.unk_id);
  t.add_end_ids(end_ids);
  t.add_add_bos(d.add_bos);
  t.add_chat(chat);
  b.Finish(t.Finish(), fb::TokenizerIdentifier());

  const auto* first = reinterpret_cast<const std::byte*>(b.GetBufferPointer());
  std::vector<std::byte> bytes(first, first + b.GetSize());
  const auto opened = TokenizerView::open(bytes);
  if (!opened.ok()) return Status(opened.status()).within("the tokenizer to be written");
  return bytes;
}

}  // namespace minnow::format
