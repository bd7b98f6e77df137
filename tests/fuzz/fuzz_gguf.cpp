// Any bytes as a GGUF file: read everything it offers, and import its tokenizer.
#include "compress/gguf_reader.h"
#include "compress/tokenizer_gguf.h"
#include "format/tokenizer_builder.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using minnow::compress::GgufReader;
  auto gguf =
      GgufReader::parse(minnow::MappedFile::from_memory({reinterpret_cast<const std::byte*>(data), size}));
  if (!gguf.ok()) return 0;
  for (const auto key : gguf->keys()) {
    (void)gguf->string(key).ok();
    (void)gguf->number(key).ok();
    (void)gguf->strings(key).ok();
    (void)gguf->integers(key).ok();
    (void)gguf->floats(key).ok();
  }
  unsigned sum = 0;
  for (const auto& tensor : gguf->tensors()) {
    const auto bytes = gguf->data(tensor);
    if (bytes.ok()) sum += static_cast<unsigned>((*bytes).front()) + static_cast<unsigned>((*bytes).back());
  }
  auto imported = minnow::compress::import_tokenizer_gguf(*gguf);
  if (imported.ok()) (void)minnow::format::build_tokenizer(imported->data).ok();
  return sum == 0xFFFFFFFFu ? 1 : 0;
}
