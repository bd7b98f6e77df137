// What the reference implementation of a fixture computed: expected.safetensors of its directory.
#pragma once

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"

namespace minnow::testing {

struct Expected {
  std::vector<int32_t> input_ids, greedy;
  std::vector<float> logits;
};

/// expected.safetensors holds integers, which the importer refuses; it is read here by hand.
inline Expected read_expected(const std::string& path) {
  Expected e;
  auto file = MappedFile::open(path);
  if (!file.ok()) return e;
  uint64_t header_size = 0;
  std::memcpy(&header_size, file->data(), 8);
  const auto json =
      nlohmann::json::parse(std::string(reinterpret_cast<const char*>(file->data()) + 8, header_size));
  const uint8_t* data = file->data() + 8 + header_size;
  const auto ids = [&](const char* name) {
    const auto& t = json.at(name);
    const size_t begin = t["data_offsets"][0], end = t["data_offsets"][1];
    std::vector<int32_t> out;
    const size_t width = t["dtype"] == "I64" ? 8 : 4;
    for (size_t i = begin; i < end; i += width) {
      int64_t v = 0;
      std::memcpy(&v, data + i, width);
      out.push_back(static_cast<int32_t>(v));
    }
    return out;
  };
  e.input_ids = ids("input_ids");
  // The first 16 inputs, then their continuation.
  const auto whole = ids("greedy_from_first_16");
  if (whole.size() > 16 && std::equal(whole.begin(), whole.begin() + 16, e.input_ids.begin())) {
    e.greedy.assign(whole.begin() + 16, whole.end());
  }
  const auto& t = json.at("logits");
  const size_t begin = t["data_offsets"][0], end = t["data_offsets"][1];
  e.logits.resize((end - begin) / 4);
  std::memcpy(e.logits.data(), data + begin, end - begin);
  return e;
}

}  // namespace minnow::testing
