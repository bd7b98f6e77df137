// The .mnw files whose metadata fuzz_container replaces, and make_seeds takes its seeds from.
#pragma once

#include <array>
#include <cstdlib>
#include <cstring>

#include "compress/compress.h"
#include "fuzz/temporary.h"
#include "support/bytes.h"

namespace minnow::fuzz {

struct Payload {
  testing::Bytes bytes;  ///< header and segments
  testing::Bytes metadata;
};

inline Payload make_payload(const std::string& name, compress::Storage storage) {
  const TempDir dir;
  auto model = compress::import_model(MINNOW_TEST_DATA "/arch/" + name);
  if (!model.ok()) std::abort();
  compress::CompressOptions options;
  options.storage = options.head_storage = storage;
  options.threads = 1;
  if (!compress::compress_model(*model, options, dir.file("m.mnw")).ok()) std::abort();
  Payload p;
  p.bytes = testing::read_bytes(dir.file("m.mnw"));
  format::Header h;
  std::memcpy(&h, p.bytes.data(), sizeof h);
  const auto begin = p.bytes.begin() + static_cast<std::ptrdiff_t>(h.metadata_offset);
  p.metadata.assign(begin, p.bytes.end());
  p.bytes.erase(begin, p.bytes.end());
  return p;
}

inline const std::array<Payload, 3>& payloads() {
  static const std::array<Payload, 3> all = {make_payload("llama-tied-gqa", compress::Storage::w8),
                                             make_payload("gemma3", compress::Storage::source16),
                                             make_payload("opt", compress::Storage::f32)};
  return all;
}

}  // namespace minnow::fuzz
