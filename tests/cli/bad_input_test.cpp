// Bad input of every kind: each gives status 1 and a message of its own that says what is wrong, nothing
// crashes, and a failed compress leaves no output file, whole or half.
#include <sys/mount.h>

#include <set>

#include "support/bytes.h"
#include "support/models.h"
#include "support/process.h"

namespace minnow::testing {
namespace {

namespace fs = std::filesystem;
using format::Header;
using format::Metadata;

const char* const kFixture = MINNOW_TEST_DATA "/arch/llama-tied-gqa";

/// One table entry: prepares files in `dir` and names the command and what its message must contain.
struct Case {
  const char* name;
  const char* message;
  std::function<std::vector<std::string>(const TempDir& dir)> prepare;
  RunAs how{};
};

std::vector<std::string> complete(const std::string& model) {
  return {"complete", "-m", model, "--ids", "1,2", "-n", "2"};
}
std::vector<std::string> compress_args(const std::string& input, const TempDir& dir) {
  return {"compress", input, "-o", dir.file("out.mnw")};
}

/// The bytes of a good .mnw file with 8-bit codes.
const Bytes& good_mnw() {
  static const Bytes bytes = [] {
    const TempDir dir;
    compress(kFixture, dir.file("m.mnw"), compress::Storage::w8);
    return read_bytes(dir.file("m.mnw"));
  }();
  return bytes;
}

Case mnw(const char* name, const char* message, std::function<void(Bytes&)> bend) {
  return {name, message, [bend](const TempDir& dir) {
            Bytes bytes = good_mnw();
            bend(bytes);
            write_bytes(dir.file("m.mnw"), bytes);
            return complete(dir.file("m.mnw"));
          }};
}

Case header(const char* name, const char* message, std::function<void(Header&)> bend) {
  return mnw(name, message, [bend](Bytes& b) { edit_header(b, bend); });
}

Case meta(const char* name, const char* message, std::function<void(Metadata&)> bend) {
  return mnw(name, message, [bend](Bytes& b) { edit_metadata(b, [&](Metadata& m, Bytes&) { bend(m); }); });
}

/// Thresholds of `q`, all 1 but the third.
Case threshold(const char* name, const char* message, float third) {
  return mnw(name, message, [third](Bytes& b) {
    edit_metadata(b, [third](Metadata& m, Bytes& file) {
      const format::TensorRef place = m.layers[0].attn_norm.weight;
      std::vector<float> values(place.count, 1.0f);
      values[2] = third;
      std::memcpy(file.data() + m.segments[place.segment].offset + place.offset, values.data(),
                  values.size() * 4);
      m.linears[1].thresholds = place;
    });
  });
}

/// A copy of the fixture's directory to spoil.
std::string model_dir(const TempDir& dir) {
  const std::string path = dir.file("model");
  fs::copy(kFixture, path);
  return path;
}

Case directory(const char* name, const char* message, std::function<void(const std::string& path)> bend) {
  return {name, message, [bend](const TempDir& dir) {
            const std::string path = model_dir(dir);
            bend(path);
            return compress_args(path, dir);
          }};
}

Case config(const char* name, const char* message, std::function<void(nlohmann::json&)> bend) {
  return directory(name, message, [bend](const std::string& path) {
    const Bytes text = read_bytes(path + "/config.json");
    auto json = nlohmann::json::parse(text.begin(), text.end());
    bend(json);
    std::ofstream(path + "/config.json") << json.dump();
  });
}

/// Changes the header of model.safetensors, its data untouched.
Case tensors(const char* name, const char* message, std::function<void(nlohmann::json&, Bytes& data)> bend) {
  return directory(name, message, [bend](const std::string& path) {
    const Bytes file = read_bytes(path + "/model.safetensors");
    uint64_t size = 0;
    std::memcpy(&size, file.data(), 8);
    auto json = nlohmann::json::parse(file.begin() + 8, file.begin() + 8 + static_cast<std::ptrdiff_t>(size));
    Bytes data(file.begin() + 8 + static_cast<std::ptrdiff_t>(size), file.end());
    bend(json, data);
    Bytes out = safetensors(json.dump(), 0);
    out.insert(out.end(), data.begin(), data.end());
    write_bytes(path + "/model.safetensors", out);
  });
}

Case tokenizer(const char* name, const char* message, const std::string& json) {
  return directory(name, message,
                   [json](const std::string& path) { std::ofstream(path + "/tokenizer.json") << json; });
}

Case gguf(const char* name, const char* message, std::function<Bytes()> make) {
  return {name, message, [make](const TempDir& dir) {
            write_bytes(dir.file("m.gguf"), make());
            return compress_args(dir.file("m.gguf"), dir);
          }};
}

Gguf gguf_header() {
  Gguf g;
  g.text("general.architecture", "llama").uint("llama.embedding_length", 32).uint("llama.block_count", 1);
  g.uint("llama.feed_forward_length", 64)
      .uint("llama.attention.head_count", 2)
      .uint("llama.context_length", 64);
  g.number("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  return g;
}

constexpr const char* kEmbedding = "model.embed_tokens.weight";

std::vector<Case> cases() {
  std::vector<Case> c;
  // The file as a whole
  c.push_back(mnw("empty file", "too few for a .mnw header", [](Bytes& b) { b.clear(); }));
  c.push_back(mnw("wrong magic", "not a .mnw file", [](Bytes& b) { b[1] = 'X'; }));
  c.push_back(mnw("cut short", "was cut short", [](Bytes& b) { b.erase(b.end() - 100, b.end()); }));
  c.push_back(mnw("bytes behind the end", "its header says", [](Bytes& b) { b.resize(b.size() + 100); }));
  c.push_back(mnw("header bit flipped", "header's checksum", [](Bytes& b) { b[20] ^= 1; }));
  c.push_back(mnw("metadata bit flipped", "metadata's checksum", [](Bytes& b) { b[b.size() - 40] ^= 1; }));
  c.push_back(header("another version", "schema version 7", [](Header& h) { h.version = 7; }));
  c.push_back(header("another header size", "claims a size of", [](Header& h) { h.header_size = 4096; }));
  c.push_back(header("metadata outside", "the metadata (offset",
                     [](Header& h) { h.metadata_offset = uint64_t{1} << 63; }));
  c.push_back(mnw("metadata of zeros", "not a valid FlatBuffer", [](Bytes& b) {
    edit_header(b, [&](Header& h) {
      std::fill(b.begin() + static_cast<std::ptrdiff_t>(h.metadata_offset), b.end(), char{0});
      h.metadata_checksum =
          format::checksum(std::as_bytes(std::span(b)).subspan(h.metadata_offset, h.metadata_size));
    });
  }));
  // Segments and slabs
  c.push_back(meta("overlapping segments", "overlap",
                   [](Metadata& m) { m.segments[1].offset = m.segments[0].offset; }));
  c.push_back(meta("segment outside", "segment 0 (offset",
                   [](Metadata& m) { m.segments[0].size = uint64_t{1} << 62; }));
  c.push_back(meta("segment wraps around", "segment 1 (offset", [](Metadata& m) {
    m.segments[1].offset = ~uint64_t{63};
    m.segments[1].size = 128;
  }));
  c.push_back(mnw("small tensors damaged", "(small tensors) does not match", [](Bytes& b) {
    format::Header h;
    std::memcpy(&h, b.data(), sizeof h);
    auto m = format::decode_metadata(std::as_bytes(std::span(b)).subspan(h.metadata_offset, h.metadata_size));
    b[m->segments[1].offset] ^= 1;
  }));
  c.push_back(meta("slab outside", "its codes do not lie inside segment",
                   [](Metadata& m) { m.linears[0].slabs[0].base = uint64_t{1} << 40; }));
  c.push_back(meta("slab stride overflows", "codes have a base, stride",
                   [](Metadata& m) { m.linears[1].slabs[0].row_stride = 1; }));
  c.push_back(meta("stride of 2^63", "'model.layers.0.self_attn.q_proj': its codes do not",
                   [](Metadata& m) { m.linears[1].slabs[0].row_stride = uint64_t{1} << 63; }));
  c.push_back(meta("scales outside", "its scales do not lie inside",
                   [](Metadata& m) { m.linears[2].slabs[0].scale_base = uint64_t{1} << 50; }));
  c.push_back(meta("group of 48", "group size of 48", [](Metadata& m) { m.linears[0].slabs[0].group = 48; }));
  c.push_back(meta("codes without scales", "codes without scales",
                   [](Metadata& m) { m.linears[0].slabs[0].scale_type = format::ScaleType::none; }));
  c.push_back(meta("no slabs", "its slabs hold 0 of", [](Metadata& m) { m.linears[0].slabs.clear(); }));
  c.push_back(meta("slab with a gap", "a slab starts at channel 9",
                   [](Metadata& m) { m.linears[0].slabs[0].first_channel = 9; }));
  c.push_back(meta("absurd rows", "claims a shape of", [](Metadata& m) { m.linears[0].rows = 0xffffffffu; }));
  c.push_back(meta("zeros for 8-bit codes", "zeros for 8-bit codes, for which this version has no kernel",
                   [](Metadata& m) {
                     m.linears[3].slabs[0].zero_type = format::ZeroType::u4;
                     m.linears[3].slabs[0].zero_base = 0;
                     m.linears[3].slabs[0].zero_stride = 1u << 10;
                   }));
  c.push_back(meta("input order out of range", "names the input order 5",
                   [](Metadata& m) { m.linears[0].input_order = 5; }));
  c.push_back(meta("input order not a permutation", "is not a permutation", [](Metadata& m) {
    m.input_orders.push_back({1, format::DType::u32, 0, 64});
    m.linears[1].input_order = 0;
  }));
  c.push_back(meta("thresholds of the wrong length", "values of thresholds, expected", [](Metadata& m) {
    m.linears[1].thresholds = {1, format::DType::f32, 0, 3};
  }));
  c.push_back(meta("gate thresholds of the wrong length", "layer 0 gate_thresholds has 3 values, the config",
                   [](Metadata& m) {
                     m.layers[0].gate_thresholds = {1, format::DType::f32, 0, 3};
                   }));
  c.push_back(threshold("negative threshold", "q_proj': thresholds holds -1.000000 at index 2", -1.0f));
  c.push_back(
      threshold("NaN threshold", "q_proj': thresholds holds a value that is not finite at index 2", NAN));
  c.push_back(
      {"sparsity without thresholds", "this model has no thresholds; make some with", [](const TempDir& dir) {
         write_bytes(dir.file("m.mnw"), good_mnw());
         return std::vector<std::string>{"complete", "-m", dir.file("m.mnw"), "-p", "a", "--sparsity", "on"};
       }});
  c.push_back(
      {"retrieval without codebooks", "this model has no codebooks; make some with", [](const TempDir& dir) {
         write_bytes(dir.file("m.mnw"), good_mnw());
         return std::vector<std::string>{"complete", "-m", dir.file("m.mnw"), "-p", "a", "--retrieval", "on"};
       }});
  c.push_back({"1,000 centroids", "1000 centroids were asked for; a multiple of 16", [](const TempDir& dir) {
                 write_bytes(dir.file("m.mnw"), good_mnw());
                 return std::vector<std::string>{"compress",    dir.file("m.mnw"), "-o",  dir.file("n.mnw"),
                                                 "--retrieval", "--centroids",     "1000"};
               }});
  // Values
  c.push_back(mnw("NaN in a norm", "attn_norm.weight holds a value that is not finite", [](Bytes& b) {
    edit_metadata(b, [](Metadata& m, Bytes& file) {
      const float nan = NAN;
      std::memcpy(file.data() + m.segments[1].offset + m.layers[0].attn_norm.weight.offset, &nan, 4);
    });
  }));
  c.push_back({"NaN scale", "holds a scale that is not finite", [](const TempDir& dir) {
                 Bytes b = good_mnw();
                 edit_metadata(b, [](Metadata& m, Bytes& file) {
                   const uint16_t nan = 0x7e00;
                   std::memcpy(file.data() + m.segments[0].offset + m.linears[2].slabs[0].scale_base, &nan,
                               2);
                 });
                 write_bytes(dir.file("m.mnw"), b);
                 return std::vector<std::string>{"info", dir.file("m.mnw"), "--verify"};
               }});
  c.push_back({"weights damaged", "the checksum of segment 0 does not match", [](const TempDir& dir) {
                 Bytes b = good_mnw();
                 b[format::kSegmentAlignment + 200] ^=
                     1;  // the weights of a small model begin behind the header
                 write_bytes(dir.file("m.mnw"), b);
                 return std::vector<std::string>{"info", dir.file("m.mnw"), "--verify"};
               }});
  // The model's shape
  c.push_back(meta("linear missing", "layer 0 q is missing", [](Metadata& m) { m.layers[0].q = -1; }));
  c.push_back(meta("linear index out of range", "layer 1 down is missing (index 9999",
                   [](Metadata& m) { m.layers[1].down = 9999; }));
  c.push_back(meta("linear of the wrong shape", "the config asks for",
                   [](Metadata& m) { m.layers[0].k = m.layers[0].gate; }));
  c.push_back(meta("norm missing", "ffn_norm is missing", [](Metadata& m) { m.layers[0].ffn_norm = {}; }));
  c.push_back(meta("norm of the wrong length", "attn_norm has 5 values",
                   [](Metadata& m) { m.layers[0].attn_norm.weight.count = 5; }));
  c.push_back(meta("heads that do not divide", "cannot share 3 KV heads",
                   [](Metadata& m) { m.config.kv_head_count = 3; }));
  c.push_back(meta("no heads", "kv_head_count is 0", [](Metadata& m) { m.config.kv_head_count = 0; }));
  c.push_back(meta("no vocabulary", "vocab_size is 0", [](Metadata& m) { m.config.vocab_size = 0; }));
  c.push_back(meta("no layers", "number of layers is 0", [](Metadata& m) { m.layers.clear(); }));
  c.push_back(meta("NaN epsilon", "norm_eps is nan", [](Metadata& m) { m.config.norm_eps = NAN; }));
  c.push_back(meta("rope of the wrong length", "frequencies, expected",
                   [](Metadata& m) { m.config.ropes[0].inv_freq.resize(3); }));
  c.push_back(meta("rope index out of range", "names rope 4", [](Metadata& m) { m.layers[0].rope = 4; }));
  c.push_back(
      meta("eos out of range", "eos id 100000 is out of range", [](Metadata& m) { m.eos_ids = {100000}; }));
  c.push_back(meta("tokenizer that is none", "okenizer", [](Metadata& m) { m.tokenizer_segment = 1; }));
  c.push_back(meta("tokenizer segment out of range", "the tokenizer is said to be segment 77",
                   [](Metadata& m) { m.tokenizer_segment = 77; }));
  // Paths
  c.push_back(
      {"no such model", "cannot open", [](const TempDir& dir) { return complete(dir.file("none.mnw")); }});
  c.push_back(
      {"a directory as model", "it is a directory", [](const TempDir& dir) { return complete(dir.path()); }});
  c.push_back({"a device as model", "it is not a regular file",
               [](const TempDir&) { return complete("/dev/zero"); }});
  c.push_back({"no such source", "cannot find",
               [](const TempDir& dir) { return compress_args(dir.file("none"), dir); }});
  c.push_back(
      {"output into a missing folder", "cannot create", [](const TempDir& dir) {
         return std::vector<std::string>{"compress", kFixture, "-o", dir.file("no/such/folder/m.mnw")};
       }});
  c.push_back({"output onto a directory", "exists and is not a regular file", [](const TempDir& dir) {
                 fs::create_directory(dir.file("out.mnw"));
                 return std::vector<std::string>{"compress", kFixture, "-o", dir.file("out.mnw")};
               }});
  c.push_back({"a file that grows too large",
               "cannot write",
               [](const TempDir& dir) { return compress_args(kFixture, dir); },
               {false, 20000}});
  // config.json
  c.push_back(directory("no config", "config.json': No such file",
                        [](const std::string& p) { fs::remove(p + "/config.json"); }));
  c.push_back(directory("config not JSON", "is not valid JSON",
                        [](const std::string& p) { std::ofstream(p + "/config.json") << "{\"a\": "; }));
  c.push_back(directory("config not an object", "is not a JSON object",
                        [](const std::string& p) { std::ofstream(p + "/config.json") << "[]"; }));
  c.push_back(directory("config not UTF-8", "not valid UTF-8", [](const std::string& p) {
    std::ofstream(p + "/config.json") << "{\"model_type\": \"\xff\xfe\"}";
  }));
  c.push_back(config("unknown architecture", "architecture 'WhaleForCausalLM' is not known",
                     [](auto& j) { j["architectures"] = {"WhaleForCausalLM"}; }));
  c.push_back(config("unknown rope", "rope type 'spiral' is not known",
                     [](auto& j) { j["rope_parameters"]["rope_type"] = "spiral"; }));
  c.push_back(config("unknown activation", "activation 'mish' is not known",
                     [](auto& j) { j["hidden_act"] = "mish"; }));
  c.push_back(config("already quantised", "already quantised", [](auto& j) {
    j["quantization_config"] = {{"bits", 4}};
  }));
  c.push_back(config("key missing", "lacks the key 'hidden_size'", [](auto& j) { j.erase("hidden_size"); }));
  c.push_back(
      config("negative size", "'intermediate_size' is -5", [](auto& j) { j["intermediate_size"] = -5; }));
  c.push_back(config("absurd layers", "num_hidden_layers is 2000000000",
                     [](auto& j) { j["num_hidden_layers"] = 2000000000; }));
  c.push_back(config("text for a number", "'rms_norm_eps' is \"small\"",
                     [](auto& j) { j["rms_norm_eps"] = "small"; }));
  c.push_back(config("more layers than tensors", "tensor 'model.layers.3.input_layernorm.weight' is missing",
                     [](auto& j) { j["num_hidden_layers"] = 4; }));
  c.push_back(config("fewer layers than tensors", "has no place in this architecture",
                     [](auto& j) { j["num_hidden_layers"] = 2; }));
  c.push_back(config("head that is not there", "the config says that the head is not tied",
                     [](auto& j) { j["tie_word_embeddings"] = false; }));
  c.push_back(config("architecture against model type", "contradicts the model type",
                     [](auto& j) { j["model_type"] = "mistral"; }));
  c.push_back(config("biases that are not there", "q_proj.bias' is missing",
                     [](auto& j) { j["attention_bias"] = true; }));
  c.push_back(config("a factor without a rope type", "does not say of which rope type", [](auto& j) {
    j.erase("rope_parameters");
    j["rope_scaling"] = {{"factor", 4.0}};
  }));
  c.push_back(config("heads beyond count", "beyond what minnow reads",
                     [](auto& j) { j["num_attention_heads"] = (1 << 27) + 2; }));
  // model.safetensors
  c.push_back(directory("no weights", "holds neither model.safetensors",
                        [](const std::string& p) { fs::remove(p + "/model.safetensors"); }));
  c.push_back(directory("weights cut short", "'model.norm.weight' lies at", [](const std::string& p) {
    fs::resize_file(p + "/model.safetensors", fs::file_size(p + "/model.safetensors") - 1);
  }));
  c.push_back(directory("lying header size", "claims a header of", [](const std::string& p) {
    Bytes b = read_bytes(p + "/model.safetensors");
    const uint64_t lie = uint64_t{1} << 60;
    std::memcpy(b.data(), &lie, 8);
    write_bytes(p + "/model.safetensors", b);
  }));
  c.push_back(directory("weights of eight bytes", "too few for safetensors", [](const std::string& p) {
    write_bytes(p + "/model.safetensors", {1, 2, 3});
  }));
  c.push_back(tensors("tensor missing", "tensor 'model.norm.weight' is missing", [](auto& j, Bytes& data) {
    const size_t begin = j["model.norm.weight"]["data_offsets"][0],
                 end = j["model.norm.weight"]["data_offsets"][1];
    if (end == data.size()) data.resize(begin);
    j.erase("model.norm.weight");
  }));
  c.push_back(tensors("tensor of the wrong shape", "the config asks for 320 x 64", [](auto& j, Bytes&) {
    j[kEmbedding]["shape"] = {64, 320};
  }));
  c.push_back(tensors("unknown tensor", "tensor 'model.extra' has no place", [](auto& j, Bytes& data) {
    j["model.extra"] = {{"dtype", "BF16"}, {"shape", {1}}, {"data_offsets", {data.size(), data.size() + 2}}};
    data.resize(data.size() + 2);
  }));
  c.push_back(tensors("overlapping tensors", "tensor data overlaps", [](auto& j, Bytes& data) {
    j["model.extra"] = {{"dtype", "BF16"}, {"shape", {1}}, {"data_offsets", {data.size() - 2, data.size()}}};
  }));
  c.push_back(
      tensors("a hole", "its tensors take", [](auto&, Bytes& data) { data.resize(data.size() + 64); }));
  c.push_back(
      tensors("integer weights", "has dtype I64", [](auto& j, Bytes&) { j[kEmbedding]["dtype"] = "I64"; }));
  c.push_back(tensors("absurd shape", "has an absurd shape", [](auto& j, Bytes&) {
    j[kEmbedding]["shape"] = {uint64_t{1} << 40, uint64_t{1} << 40};
  }));
  c.push_back(tensors("size that contradicts the shape", "its shape asks for", [](auto& j, Bytes&) {
    j[kEmbedding]["shape"] = {319, 64};
  }));
  c.push_back(tensors("NaN weight", "holds a value that is not finite at row", [](auto& j, Bytes& data) {
    const size_t begin = j[kEmbedding]["data_offsets"][0];
    data[begin + 6] = static_cast<char>(0xc0), data[begin + 7] = 0x7f;
  }));
  // Shards
  const auto index = [](const std::string& p, const std::string& shard) {
    fs::rename(p + "/model.safetensors", p + "/model-1.safetensors");
    std::ofstream(p + "/model.safetensors.index.json")
        << nlohmann::json{{"weight_map", {{"model.norm.weight", shard}}}}.dump();
  };
  c.push_back(directory("shard outside the folder", "is said to be in '../other.safetensors'",
                        [=](const std::string& p) { index(p, "../other.safetensors"); }));
  c.push_back(directory("index that names itself", "is said to be in 'model.safetensors.index.json'",
                        [=](const std::string& p) { index(p, "model.safetensors.index.json"); }));
  c.push_back(directory("shard missing", "model-2.safetensors': No such file",
                        [=](const std::string& p) { index(p, "model-2.safetensors"); }));
  c.push_back(directory("index lists what no shard holds", "no shard holds it", [](const std::string& p) {
    fs::rename(p + "/model.safetensors", p + "/model-1.safetensors");
    std::ofstream(p + "/model.safetensors.index.json")
        << R"({"weight_map": {"model.ghost": "model-1.safetensors"}})";
  }));
  c.push_back(directory("empty index", "names no shards", [](const std::string& p) {
    fs::remove(p + "/model.safetensors");
    std::ofstream(p + "/model.safetensors.index.json") << R"({"weight_map": {}})";
  }));
  // tokenizer.json
  c.push_back(tokenizer("tokenizer not JSON", "tokenizer.json", "{"));
  c.push_back(
      tokenizer("tokenizer of another kind", "Unigram", R"({"model": {"type": "Unigram", "vocab": []}})"));
  c.push_back(tokenizer(
      "unknown pre-tokenizer", "Psychic",
      R"({"pre_tokenizer": {"type": "Psychic"}, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}})"));
  // GGUF
  c.push_back(gguf("not a GGUF file", "GGUF", [] { return Bytes(100, 'x'); }));
  c.push_back(gguf("tensor of 2^60 elements", "token_embd.weight", [] {
    return gguf_header().tensor("token_embd.weight", {uint64_t{1} << 30, uint64_t{1} << 30}, 0, 0).bytes(64);
  }));
  c.push_back(
      gguf("2^60 keys", "1152921504606846976", [] { return gguf_header().bytes(64, uint64_t{1} << 60); }));
  c.push_back(gguf("GGUF of another architecture", "architecture 'whale' is not known",
                   [] { return Gguf().text("general.architecture", "whale").bytes(0); }));
  c.push_back(gguf("GGUF with a vocabulary only", "vocabulary only", [] { return gguf_header().bytes(0); }));
  c.push_back(gguf("GGUF type that is not read", "minnow reads f32, f16", [] {
    return gguf_header().tensor("token_embd.weight", {256, 8}, 12, 0).bytes(1152);
  }));
  c.push_back(gguf("GGUF cut short", "not downloaded in full", [] {
    return gguf_header().tensor("token_embd.weight", {32, 8}, 0, 0).bytes(100);
  }));
  // Use
  const auto good = [](const TempDir& dir) {
    write_bytes(dir.file("m.mnw"), good_mnw());
    return dir.file("m.mnw");
  };
  c.push_back({"token out of range", "outside the vocabulary", [=](const TempDir& dir) {
                 return std::vector<std::string>{"complete", "-m", good(dir), "--ids", "99999"};
               }});
  c.push_back({"prompt longer than the context", "do not fit behind", [=](const TempDir& dir) {
                 return std::vector<std::string>{"complete",  "-m",    good(dir), "--ids",
                                                 "1,2,3,4,5", "--ctx", "3"};
               }});
  c.push_back({"negative temperature", "temperature", [=](const TempDir& dir) {
                 return std::vector<std::string>{"complete", "-m", good(dir), "--ids", "1", "--temp=-1"};
               }});
  c.push_back({"KV file in no directory", "cannot make a file in", [=](const TempDir& dir) {
                 return std::vector<std::string>{"complete", "-m",       good(dir),       "--ids",
                                                 "1",        "--ctx",    "8192",          "--kv-budget",
                                                 "1",        "--kv-dir", dir.file("none")};
               }});
  c.push_back({"text for a model without a tokenizer", "carries no tokenizer", [=](const TempDir& dir) {
                 return std::vector<std::string>{"tokenize", "-m", good(dir), "hello"};
               }});
  c.push_back({"chat without a tokenizer", "cannot chat", [=](const TempDir& dir) {
                 return std::vector<std::string>{"chat", "-m", good(dir)};
               }});
  c.push_back(
      {"unknown chat format", "whale", [](const TempDir& dir) {
         return std::vector<std::string>{
             "compress", MINNOW_EXAMPLE_MODELS "/books-7m", "-o", dir.file("out.mnw"), "--chat-format",
             "whale"};
       }});
  c.push_back(
      {"text that is not UTF-8", "UTF-8", [](const TempDir& dir) {
         compress(MINNOW_EXAMPLE_MODELS "/books-7m", dir.file("b.mnw"), compress::Storage::w8);
         std::ofstream(dir.file("t.txt")) << "fine \xff\xfe not";
         return std::vector<std::string>{"eval", "-m", dir.file("b.mnw"), "--text", dir.file("t.txt")};
       }});
  return c;
}

TEST(BadInput, EveryCaseHasItsOwnMessageAndStatusOne) {
  std::set<std::string> messages;
  const auto table = cases();
  EXPECT_GE(table.size(), 40u);
  for (const Case& entry : table) {
    SCOPED_TRACE(entry.name);
    const TempDir dir;
    std::vector<std::string> command = entry.prepare(dir);
    command.insert(command.begin(), MINNOW_CLI);
    const Outcome outcome = run_program(command, entry.how);
    EXPECT_EQ(outcome.status, 1) << outcome.err;
    const size_t at = outcome.err.find("minnow: ");
    ASSERT_NE(at, std::string::npos) << outcome.err;
    std::string message = outcome.err.substr(at);
    EXPECT_NE(message.find(entry.message), std::string::npos) << message;
    for (size_t p; (p = message.find(dir.path())) != std::string::npos;) message.erase(p, dir.path().size());
    EXPECT_TRUE(messages.insert(message).second) << "another case has the same message: " << message;
    if (command[1] == "compress") {
      for (const auto& file : fs::recursive_directory_iterator(dir.path())) {
        const std::string name = file.path().filename().string();
        EXPECT_TRUE(!name.starts_with("out.mnw") || file.is_directory()) << "left behind: " << file.path();
      }
    }
  }
}

TEST(BadInput, NoPermissionToReadOrWrite) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to drop it for the child";
  const TempDir dir;
  fs::permissions(dir.path(), fs::perms(0755));
  fs::copy_file(MINNOW_CLI, dir.file("minnow"));
  fs::permissions(dir.file("minnow"), fs::perms(0755));
  write_bytes(dir.file("m.mnw"), good_mnw());
  fs::permissions(dir.file("m.mnw"), fs::perms(0600));
  const Outcome read = run_program({dir.file("minnow"), "info", dir.file("m.mnw")}, {true, 0});
  if (read.status == 127) GTEST_SKIP() << "another user cannot reach the temporary folder";
  EXPECT_EQ(read.status, 1);
  EXPECT_NE(read.err.find("Permission denied"), std::string::npos) << read.err;
  fs::create_directory(dir.file("sealed"));
  fs::copy(kFixture, dir.file("model"));
  const Outcome write = run_program(
      {dir.file("minnow"), "compress", dir.file("model"), "-o", dir.file("sealed/out.mnw")}, {true, 0});
  EXPECT_EQ(write.status, 1);
  EXPECT_NE(write.err.find("cannot create"), std::string::npos) << write.err;
  EXPECT_TRUE(fs::is_empty(dir.file("sealed")));
}

TEST(BadInput, FullDisk) {
  const TempDir dir;
  const std::string disk = dir.file("disk");
  fs::create_directory(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=64k") != 0)
    GTEST_SKIP() << "cannot mount a small file system here";
  const Outcome outcome = run_program({MINNOW_CLI, "compress", kFixture, "-o", disk + "/out.mnw"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_NE(outcome.err.find("No space left"), std::string::npos) << outcome.err;
  EXPECT_TRUE(fs::is_empty(disk));
  ::umount(disk.c_str());
}

TEST(Usage, WrongUsageIsStatusTwo) {
  EXPECT_EQ(run_program({MINNOW_CLI}).status, 2);
  EXPECT_EQ(run_program({MINNOW_CLI, "swim"}).status, 2);
  EXPECT_EQ(run_program({MINNOW_CLI, "complete"}).status, 2);
  EXPECT_EQ(run_program({MINNOW_CLI, "complete", "-m", "x", "--temp", "warm"}).status, 2);
  EXPECT_EQ(run_program({MINNOW_CLI, "complete", "-m", "x", "--isa", "mmx"}).status, 2);
  EXPECT_EQ(run_program({MINNOW_CLI, "complete", "-m", "x", "-c", "-5"}).status, 2);
  EXPECT_EQ(run_program({MINNOW_CLI, "compress", "x", "-o", "y", "--width", "5"}).status, 2);
  EXPECT_EQ(run_program({MINNOW_CLI, "compress", "x", "-o", "y", "--bits", "16", "--width", "8"}).status, 2);
  EXPECT_EQ(run_program({MINNOW_CLI, "eval", "-m", "x", "--text", "t", "--skip", "9", "--ctx", "8"}).status,
            2);
  EXPECT_EQ(run_program({MINNOW_CLI, "eval", "-m", "x"}).status, 2);
  EXPECT_EQ(run_program({MINNOW_CLI, "complete", "-m", "x", "--kv-budget", "1"}).status, 2);
  EXPECT_EQ(run_program({MINNOW_CLI, "complete", "-m", "x", "--kv-dir", "/tmp"}).status, 2);
  EXPECT_EQ(run_program({MINNOW_CLI, "--help"}).status, 0);
}

}  // namespace
}  // namespace minnow::testing
