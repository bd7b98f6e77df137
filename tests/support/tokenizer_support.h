// A tokenizer together with the bytes it lives in, for tests.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "compress/tokenizer_import.h"
#include "format/tokenizer_builder.h"
#include "format/tokenizer_view.h"
#include "text/tokenizer.h"

namespace minnow::test {

struct OwnedTokenizer {
  std::vector<std::byte> bytes;
  std::unique_ptr<const text::Tokenizer> tokenizer;
  std::vector<std::string> warnings;

  const text::Tokenizer* operator->() const { return tokenizer.get(); }
  const text::Tokenizer& operator*() const { return *tokenizer; }
};

inline Result<OwnedTokenizer> make_tokenizer(const format::TokenizerData& data) {
  OwnedTokenizer t;
  MINNOW_ASSIGN(t.bytes, format::build_tokenizer(data));
  MINNOW_ASSIGN(format::TokenizerView view, format::TokenizerView::open(t.bytes));
  MINNOW_ASSIGN(t.tokenizer, text::Tokenizer::create(std::move(view)));
  return t;
}

inline Result<OwnedTokenizer> make_tokenizer(Result<compress::ImportedTokenizer> imported) {
  if (!imported.ok()) return std::move(imported).status();
  MINNOW_ASSIGN(OwnedTokenizer t, make_tokenizer(imported->data));
  t.warnings = imported->warnings;
  return t;
}

inline std::vector<int32_t> encode(const text::Tokenizer& t, std::string_view text, bool add_special = false,
                                   bool parse_special = true) {
  std::vector<int32_t> ids;
  const Status s = t.encode(text, add_special, parse_special, ids);
  EXPECT_TRUE(s.ok()) << s.message();
  return ids;
}

inline std::string stream(const text::Tokenizer& t, const std::vector<int32_t>& ids,
                          bool skip_special = false) {
  text::StreamDecoder decoder(t, skip_special);
  std::string out;
  for (const int32_t id : ids) decoder.push(id, out);
  decoder.flush(out);
  return out;
}

}  // namespace minnow::test
