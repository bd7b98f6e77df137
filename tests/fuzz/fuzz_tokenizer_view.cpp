// Any bytes as a tokenizer segment: open, then use what opened.
#include <cstring>
#include <vector>

#include "format/tokenizer_view.h"
#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<uint64_t> aligned((size + 7) / 8);
  if (size != 0) std::memcpy(aligned.data(), data, size);
  auto view = minnow::format::TokenizerView::open({reinterpret_cast<const std::byte*>(aligned.data()), size});
  if (!view.ok()) return 0;
  auto tokenizer = minnow::text::Tokenizer::create(std::move(view).value());
  if (!tokenizer.ok()) return 0;
  const auto& t = **tokenizer;
  std::vector<int32_t> ids;
  (void)t.encode("Hello <s> w\xC3\xB6rld 123 \xF0\x9F\x98\x80\n\n end", true, true, ids).ok();
  (void)t.decode(ids, true);
  minnow::text::StreamDecoder stream(t, false);
  std::string out;
  for (const int32_t id : ids) stream.push(id, out);
  stream.flush(out);
  (void)t.find("Hello");
  return 0;
}
