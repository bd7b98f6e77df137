#include "compress/safetensors.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "base/checked.h"
#include "base/file.h"
#include "compress/json.h"

namespace minnow::compress {
namespace {

constexpr uint64_t kHeaderLimit = 100'000'000;  // as in the reference implementation

class Safetensors : public TensorSource {
 public:
  Status add_file(const std::string& path) {
    MINNOW_ASSIGN(MappedFile file, MappedFile::open(path));
    if (file.size() < 8)
      return fail(Code::corrupt, "'", path, "' has ", file.size(), " bytes, too few for safetensors");
    uint64_t header_size = 0;
    std::memcpy(&header_size, file.data(), 8);
    if (header_size > kHeaderLimit || !range_fits(8, header_size, file.size())) {
      return fail(Code::corrupt, "'", path, "' claims a header of ", header_size, " bytes, the file has ",
                  file.size(), "; it is damaged or was cut short");
    }
    const std::string_view text(reinterpret_cast<const char*>(file.data()) + 8, header_size);
    MINNOW_ASSIGN(const Json header, parse_json(text, path + " header"));
    const uint64_t data_size = file.size() - 8 - header_size;
    const uint8_t* data = file.data() + 8 + header_size;
    std::vector<std::pair<uint64_t, uint64_t>> ranges;
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") continue;
      MINNOW_ASSIGN(SourceTensor tensor, read_entry(name, entry, data_size, path, ranges));
      tensor.data = data + ranges.back().first;
      if (!add(std::move(tensor))) {
        return fail(Code::corrupt, "tensor '", name, "' is in two shards, again in '", path, "'");
      }
    }
    std::sort(ranges.begin(), ranges.end());
    uint64_t end = 0;
    for (const auto& [begin, stop] : ranges) {
      if (begin != end) {
        return fail(Code::corrupt, "'", path, "': tensor data ", begin < end ? "overlaps" : "has a hole",
                    " at offset ", begin);
      }
      end = stop;
    }
    if (end != data_size) {
      return fail(Code::corrupt, "'", path, "' holds ", data_size, " bytes of data, its tensors take ", end);
    }
    files_.push_back(std::move(file));
    return {};
  }
  void forget() const override {
    for (const MappedFile& f : files_) f.forget();
  }

 private:
  static Result<SourceTensor> read_entry(const std::string& name, const Json& entry, uint64_t data_size,
                                         const std::string& path,
                                         std::vector<std::pair<uint64_t, uint64_t>>& ranges) {
    const std::string where = cat("'", path, "': tensor '", name, "'");
    if (!entry.is_object()) return fail(Code::corrupt, where, " is not described by an object");
    const JsonObject e(entry, where);
    MINNOW_ASSIGN(const std::string dtype, e.text("dtype"));
    SourceTensor t;
    t.name = name;
    if (dtype == "F32") {
      t.type = SourceType::f32;
    } else if (dtype == "F16") {
      t.type = SourceType::f16;
    } else if (dtype == "BF16") {
      t.type = SourceType::bf16;
    } else {
      return fail(Code::unsupported, where, " has dtype ", dtype, "; minnow reads F32, F16 and BF16");
    }
    const auto all_unsigned = [](const Json& list) {
      return list.is_array() &&
             std::all_of(list.begin(), list.end(), [](const Json& v) { return v.is_number_unsigned(); });
    };
    if (!e.has("shape") || !all_unsigned(e.raw("shape")))
      return fail(Code::corrupt, where, " has no valid shape");
    uint64_t elements = 1;
    for (const Json& d : e.raw("shape")) {
      const auto product = checked_mul(elements, d.get<uint64_t>());
      if (!product || *product > (uint64_t{1} << 48))
        return fail(Code::corrupt, where, " has an absurd shape");
      elements = *product;
      t.shape.push_back(d.get<uint64_t>());
    }
    if (!e.has("data_offsets") || !all_unsigned(e.raw("data_offsets")) || e.raw("data_offsets").size() != 2) {
      return fail(Code::corrupt, where, " has no valid data_offsets");
    }
    const auto begin = e.raw("data_offsets")[0].get<uint64_t>(),
               end = e.raw("data_offsets")[1].get<uint64_t>();
    if (begin > end || end > data_size) {
      return fail(Code::corrupt, where, " lies at ", begin, "..", end, ", the file's data ends at ",
                  data_size);
    }
    if (end - begin != source_bytes(t.type, elements)) {
      return fail(Code::corrupt, where, " takes ", end - begin, " bytes, its shape asks for ",
                  source_bytes(t.type, elements));
    }
    ranges.emplace_back(begin, end);
    return t;
  }

  std::vector<MappedFile> files_;
};

Result<std::set<std::string>> shards_of(const Json& index, const std::string& path) {
  const JsonObject top(index, path);
  MINNOW_ASSIGN(const JsonObject map, top.object("weight_map"));
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : top.raw("weight_map").items()) {
    const std::string file = shard.is_string() ? shard.get<std::string>() : "";
    const bool plain = file.find('/') == std::string::npos && file.find('\\') == std::string::npos;
    if (!plain || !file.ends_with(".safetensors")) {
      return fail(Code::corrupt, "'", path, "': tensor '", tensor, "' is said to be in '", file,
                  "'; a shard is a .safetensors file of the same directory");
    }
    shards.insert(file);
  }
  if (shards.empty()) return fail(Code::corrupt, "'", path, "' names no shards");
  return shards;
}

}  // namespace

Result<std::unique_ptr<TensorSource>> open_safetensors(const std::string& directory) {
  auto source = std::make_unique<Safetensors>();
  const std::string single = directory + "/model.safetensors", index = single + ".index.json";
  if (file_exists(single)) {
    MINNOW_TRY(source->add_file(single));
  } else if (file_exists(index)) {
    MINNOW_ASSIGN(const Json json, read_json(index, kHeaderLimit));
    MINNOW_ASSIGN(const auto shards, shards_of(json, index));
    for (const std::string& shard : shards) MINNOW_TRY(source->add_file(cat(directory, "/", shard)));
    for (const auto& [tensor, shard] : json["weight_map"].items()) {
      if (source->find(tensor) == nullptr) {
        return fail(Code::corrupt, "'", index, "' lists tensor '", tensor, "', no shard holds it");
      }
    }
  } else {
    return fail(Code::not_found, "'", directory,
                "' holds neither model.safetensors nor model.safetensors.index.json");
  }
  return std::unique_ptr<TensorSource>(std::move(source));
}

}  // namespace minnow::compress
