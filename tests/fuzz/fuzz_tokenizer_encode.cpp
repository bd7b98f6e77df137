// Any text through the two small tokenizers of tests/data: encode, decode, stream.
#include <cstdlib>

#include "compress/tokenizer_json.h"
#include "format/tokenizer_builder.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace {

struct Loaded {
  std::vector<std::byte> bytes;
  std::unique_ptr<const minnow::text::Tokenizer> tokenizer;

  explicit Loaded(const char* dir) {
    auto imported = minnow::compress::import_tokenizer_json(dir);
    if (!imported.ok()) std::abort();
    bytes = std::move(minnow::format::build_tokenizer(imported->data)).value();
    tokenizer =
        std::move(minnow::text::Tokenizer::create(*minnow::format::TokenizerView::open(bytes))).value();
  }
};

void check(const minnow::text::Tokenizer& t, std::string_view text) {
  std::vector<int32_t> ids;
  if (!t.encode(text, false, true, ids).ok()) return;
  const std::string decoded = t.decode(ids, false);
  minnow::text::StreamDecoder stream(t, false);
  std::string out;
  for (const int32_t id : ids) {
    stream.push(id, out);
    if (minnow::text::find_invalid_utf8(out) != std::string_view::npos) std::abort();
  }
  stream.flush(out);
  // Encoding valid text gives whole characters, so the two ways of decoding agree.
  if (out != decoded) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Loaded bytes(MINNOW_TEST_DATA "/tokenizers/tiny-bytes");
  static const Loaded spm(MINNOW_TEST_DATA "/tokenizers/tiny-spm");
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check(*bytes.tokenizer, text);
  check(*spm.tokenizer, text);
  return 0;
}
