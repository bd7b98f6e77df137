// make_seeds <corpus>: writes seeds for every target into <corpus>/<target>/.
#include <cstdio>

#include "compress/tokenizer_json.h"
#include "format/tokenizer_builder.h"
#include "fuzz/container_payload.h"

namespace fs = std::filesystem;
using minnow::testing::Bytes;

namespace {

void put(const fs::path& path, const Bytes& bytes) {
  fs::create_directories(path.parent_path());
  minnow::testing::write_bytes(path.string(), bytes);
}

/// The tensors' names and shapes of a model, with a few bytes of data each.
Bytes small_safetensors() {
  return minnow::testing::safetensors(
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
      R"("b":{"dtype":"BF16","shape":[4],"data_offsets":[16,24]},"c":{"dtype":"F16","shape":[1,4],"data_offsets":[24,32]}})",
      32);
}

Bytes small_gguf() {
  minnow::testing::Gguf g;
  g.text("general.architecture", "llama")
      .uint("llama.block_count", 1)
      .number("llama.rope.freq_base", 10000.0f);
  g.tensor("token_embd.weight", {32, 4}, 0, 0).tensor("output_norm.weight", {32}, 0, 512);
  return g.bytes(640);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_seeds <corpus>\n");
    return 2;
  }
  const fs::path corpus = argv[1];
  const auto& payloads = minnow::fuzz::payloads();
  for (size_t i = 0; i < payloads.size(); ++i) {
    Bytes seed(1, static_cast<char>(i));
    seed.insert(seed.end(), payloads[i].metadata.begin(), payloads[i].metadata.end());
    put(corpus / "fuzz_container" / ("payload-" + std::to_string(i)), seed);
  }
  for (const auto& entry : fs::directory_iterator(MINNOW_TEST_DATA "/arch")) {
    put(corpus / "fuzz_config" / entry.path().filename(),
        minnow::testing::read_bytes(entry.path() / "config.json"));
  }
  for (const auto& entry : fs::directory_iterator(MINNOW_TEST_DATA "/tokenizers")) {
    auto imported = minnow::compress::import_tokenizer_json(entry.path().string());
    if (!imported.ok()) return 1;
    const auto built = minnow::format::build_tokenizer(imported->data);
    if (!built.ok()) return 1;
    const auto* p = reinterpret_cast<const char*>(built->data());
    put(corpus / "fuzz_tokenizer_view" / entry.path().filename(), Bytes(p, p + built->size()));
  }
  put(corpus / "fuzz_safetensors" / "small", small_safetensors());
  put(corpus / "fuzz_gguf" / "small", small_gguf());
  const std::string text = "Hello <s> w\xC3\xB6rld 123 \xF0\x9F\x98\x80\n\n end<|im_end|>";
  put(corpus / "fuzz_tokenizer_encode" / "text", Bytes(text.begin(), text.end()));
  return 0;
}
