// Any bytes as model.safetensors: read a row of everything it offers.
#include <algorithm>

#include "compress/safetensors.h"
#include "compress/source.h"
#include "fuzz/temporary.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const minnow::fuzz::TempDir dir;
  minnow::fuzz::write_file(dir.file("model.safetensors"), data, size);
  auto source = minnow::compress::open_safetensors(dir.path());
  if (!source.ok()) return 0;
  for (const std::string& name : (*source)->names()) {
    const minnow::compress::SourceTensor* t = (*source)->find(name);
    if (t == nullptr) std::abort();
    const uint64_t n = t->elements();
    if (n == 0) continue;
    const auto block = std::min<uint64_t>(n, 64);
    std::vector<float> out(block);
    minnow::compress::widen(t->type, t->data, block, out.data());
    const uint64_t bytes = minnow::compress::source_bytes(t->type, n);
    volatile uint8_t last = t->data[bytes - 1];
    (void)last;
  }
  return 0;
}
