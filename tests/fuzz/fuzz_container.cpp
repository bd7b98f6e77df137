// Any bytes as the metadata of a .mnw file: what loads has to run. The first byte chooses the segments
// behind it; header and checksums are made right here, so that mutations get past them.
#include <minnow/minnow.h>

#include <cstdlib>

#include "base/buffer.h"
#include "fuzz/container_payload.h"

namespace {

using minnow::testing::Bytes;

/// One session, three tokens: prefill of two, and a decode step.
void run(minnow_engine* engine, const Bytes& file) {
  auto memory = minnow::Buffer::allocate(file.size(), "a fuzzed file");
  if (!memory.ok()) std::abort();
  std::memcpy(memory->data(), file.data(), file.size());
  minnow_model* model = nullptr;
  if (minnow_model_load_memory(engine, memory->data(), file.size(), &model) != MINNOW_OK) return;
  minnow_session_params p = minnow_session_params_default();
  p.context = 8;
  p.prefill_chunk = 2;
  minnow_session* session = nullptr;
  if (minnow_session_create(model, &p, &session) == MINNOW_OK) {
    const int32_t tokens[] = {0, 0};
    (void)minnow_prefill(session, tokens, 2, nullptr, nullptr);
    (void)minnow_decode(session, 0);
    minnow_generate_params g = minnow_generate_params_default();
    g.max_tokens = 1;
    (void)minnow_generate(session, &g, nullptr, nullptr, nullptr);
  }
  minnow_session_destroy(session);
  minnow_model_destroy(model);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static minnow_engine* engine = [] {
    minnow_engine_params p = minnow_engine_params_default();
    p.threads = 1;
    minnow_engine* e = nullptr;
    if (minnow_engine_create(&p, &e) != MINNOW_OK) std::abort();
    return e;
  }();
  if (size == 0) return 0;
  Bytes file = minnow::fuzz::payloads()[data[0] % 3].bytes;
  minnow::format::Header h;
  std::memcpy(&h, file.data(), sizeof h);
  h.metadata_size = size - 1;
  file.insert(file.end(), data + 1, data + size);
  h.file_size = file.size();
  h.metadata_checksum = minnow::format::checksum(std::as_bytes(std::span(file)).subspan(h.metadata_offset));
  std::memcpy(file.data(), &h, sizeof h);
  minnow::testing::sign_header(file);
  run(engine, file);  // the bytes as they are: the FlatBuffer's own checks, segments that stayed whole
  minnow::testing::edit_metadata(file, [](minnow::format::Metadata&, Bytes&) {});
  run(engine, file);  // the checksums of small segments made right
  return 0;
}
