// Text to token ids and back. The one header of src/text that the rest of the runtime needs, beside
// chat_format.h and stop_matcher.h.
//
// Goals: ids and texts equal those of Hugging Face's tokenizers (byte-level BPE, SentencePiece-style
// BPE with byte fallback) and of llama.cpp (SPM vocabularies of GGUF files); hostile text and hostile
// tokenizers give a Status, never a crash. Non-goals: WordPiece, Unigram, offsets, pairs of sequences.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "format/tokenizer_view.h"
#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"

namespace minnow::text {

/// Immutable and thread-safe; the bytes behind the view must outlive it. Neither copied nor moved
/// once created (parts point into each other), hence the unique_ptr.
class Tokenizer {
 public:
  static Result<std::unique_ptr<const Tokenizer>> create(format::TokenizerView view);
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  /// Appends the ids of `text` to `out`. add_special: puts the model's BOS/EOS template around it.
  /// parse_special: the text of a special token becomes that token; otherwise it is plain text.
  /// Errors: invalid_argument (not UTF-8, with the byte's offset), unsupported (a match limit).
  Status encode(std::string_view text, bool add_special, bool parse_special, std::vector<int32_t>& out) const;

  /// The text of `ids`; ids outside the vocabulary are left out. Always valid UTF-8.
  std::string decode(std::span<const int32_t> ids, bool skip_special) const;

  int32_t size() const { return static_cast<int32_t>(view_.size()); }
  /// What the token adds to a text, as bytes that need not be whole characters. Empty for bad ids.
  std::string token_bytes(int32_t id) const;
  /// The token's name: the text of a special token, else as stored. Empty for bad ids.
  std::string_view token_text(int32_t id) const;
  /// The id of an added token (by its text) or of a token of the vocabulary (by its stored bytes).
  std::optional<int32_t> find(std::string_view token) const;

  bool is_special(int32_t id) const { return id >= 0 && added_.is_special(static_cast<uint32_t>(id)); }
  /// Does this id end generation (EOS, end of turn, ...)?
  bool is_end(int32_t id) const;
  int32_t bos() const { return view_.bos_id; }
  int32_t eos() const { return view_.eos_id; }
  int32_t pad() const { return view_.pad_id; }
  int32_t unk() const { return view_.unk_id; }
  bool adds_bos() const { return view_.add_bos; }
  const format::TokenizerView& view() const { return view_; }

 private:
  friend class StreamDecoder;
  Tokenizer() = default;
  Status encode_section(std::string_view section, bool at_start, bool parse_special, class Bpe& bpe,
                        std::vector<int32_t>& out) const;

  format::TokenizerView view_;
  AddedTokens added_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  DecoderPlan decoder_;
};

/// Decodes ids one at a time and hands out whole UTF-8 characters only. Not thread-safe.
///
/// The concatenation equals decode() of the same ids, with one exception: in a run of byte-fallback
/// tokens that holds both whole characters and stray bytes, decode() (like Hugging Face's) makes every
/// byte a U+FFFD, while a stream has long handed out the whole characters.
class StreamDecoder {
 public:
  /// at_start false: the ids continue an earlier text, so a leading space is kept.
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true, bool at_start = true)
      : tokenizer_(&tokenizer), skip_special_(skip_special), state_(tokenizer.decoder_, at_start, false) {}

  /// Appends to `out` the text that has become certain.
  void push(int32_t id, std::string& out);
  /// Appends what was held back; unfinished characters become U+FFFD.
  void flush(std::string& out) { state_.flush(out); }

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  DecoderState state_;
};

}  // namespace minnow::text
