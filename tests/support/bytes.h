// Builds and bends files for tests: bytes, .mnw metadata, GGUF containers, safetensors.
#pragma once

#include <cstring>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "format/container.h"
#include "format/metadata_codec.h"

namespace minnow::testing {

using Bytes = std::vector<char>;

inline Bytes read_bytes(const std::string& path) {
  auto text = read_text_file(path, uint64_t{1} << 32);
  return text.ok() ? Bytes(text->begin(), text->end()) : Bytes();
}

inline void write_bytes(const std::string& path, const Bytes& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

template <typename T>
void put(Bytes& bytes, T value) {
  const char* p = reinterpret_cast<const char*>(&value);
  bytes.insert(bytes.end(), p, p + sizeof value);
}

/// Gives a .mnw file a header whose checksum is right again after a change.
inline void sign_header(Bytes& file) {
  format::Header h;
  std::memcpy(&h, file.data(), sizeof h);
  h.header_checksum =
      format::checksum(std::as_bytes(std::span(&h, 1)).first(offsetof(format::Header, header_checksum)));
  std::memcpy(file.data(), &h, sizeof h);
}

inline void edit_header(Bytes& file, const std::function<void(format::Header&)>& edit) {
  format::Header h;
  std::memcpy(&h, file.data(), sizeof h);
  edit(h);
  std::memcpy(file.data(), &h, sizeof h);
  sign_header(file);
}

/// Replaces the metadata at the end of a .mnw file by a changed one, all checksums of header, metadata and
/// small segments made right again.
inline void edit_metadata(Bytes& file, const std::function<void(format::Metadata&, Bytes&)>& edit) {
  format::Header h;
  std::memcpy(&h, file.data(), sizeof h);
  const auto* bytes = reinterpret_cast<const std::byte*>(file.data());
  auto metadata = format::decode_metadata({bytes + h.metadata_offset, h.metadata_size});
  if (!metadata.ok()) return;
  file.resize(h.metadata_offset);
  edit(*metadata, file);
  for (format::Segment& s : metadata->segments) {
    if (s.offset + s.size <= file.size() && s.offset + s.size >= s.offset) {
      s.checksum = format::checksum({reinterpret_cast<const std::byte*>(file.data()) + s.offset, s.size});
    }
  }
  const auto encoded = format::encode_metadata(*metadata);
  h.metadata_offset = file.size();
  h.metadata_size = encoded.size();
  h.metadata_checksum = format::checksum(encoded);
  h.file_size = file.size() + encoded.size();
  const auto* p = reinterpret_cast<const char*>(encoded.data());
  file.insert(file.end(), p, p + encoded.size());
  std::memcpy(file.data(), &h, sizeof h);
  sign_header(file);
}

/// A safetensors file from a header and as many data bytes as it says it has.
inline Bytes safetensors(const std::string& header, size_t data_bytes) {
  Bytes out;
  put<uint64_t>(out, header.size());
  out.insert(out.end(), header.begin(), header.end());
  out.resize(out.size() + data_bytes);
  return out;
}

/// A small GGUF writer.
class Gguf {
 public:
  Gguf& text(const std::string& key, const std::string& value) {
    string(kv_, key);
    put<uint32_t>(kv_, 8);
    string(kv_, value);
    ++keys_;
    return *this;
  }
  Gguf& uint(const std::string& key, uint32_t value) {
    string(kv_, key);
    put<uint32_t>(kv_, 4);
    put<uint32_t>(kv_, value);
    ++keys_;
    return *this;
  }
  Gguf& number(const std::string& key, float value) {
    string(kv_, key);
    put<uint32_t>(kv_, 6);
    put<float>(kv_, value);
    ++keys_;
    return *this;
  }
  Gguf& tensor(const std::string& name, const std::vector<uint64_t>& dims, uint32_t type, uint64_t offset) {
    string(infos_, name);
    put<uint32_t>(infos_, static_cast<uint32_t>(dims.size()));
    for (uint64_t d : dims) put<uint64_t>(infos_, d);
    put<uint32_t>(infos_, type);
    put<uint64_t>(infos_, offset);
    ++tensors_;
    return *this;
  }
  Bytes bytes(size_t data_bytes, uint64_t keys = 0) const {
    Bytes out = {'G', 'G', 'U', 'F'};
    put<uint32_t>(out, 3);
    put<uint64_t>(out, tensors_);
    put<uint64_t>(out, keys != 0 ? keys : keys_);
    out.insert(out.end(), kv_.begin(), kv_.end());
    out.insert(out.end(), infos_.begin(), infos_.end());
    out.resize((out.size() + 31) / 32 * 32 + data_bytes);
    return out;
  }

 private:
  static void string(Bytes& b, const std::string& s) {
    put<uint64_t>(b, s.size());
    b.insert(b.end(), s.begin(), s.end());
  }
  Bytes kv_, infos_;
  uint64_t keys_ = 0, tensors_ = 0;
};

}  // namespace minnow::testing
