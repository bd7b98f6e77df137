// Hugging Face directories in their other forms: shards, the older config.json, other float types. Each must
// give the same model as the plain fixture. And the habits of families that config.json leaves unsaid.
#include <gmock/gmock.h>

#include "compress/hf_config.h"
#include "support/bytes.h"
#include "support/models.h"

namespace minnow::testing {
namespace {

namespace fs = std::filesystem;

const std::string kFixture = MINNOW_TEST_DATA "/arch/llama-tied-gqa";

std::vector<float> logits_of(const std::string& directory) {
  const TempDir dir;
  compress(directory, dir.file("m.mnw"), compress::Storage::f32);
  const Engine engine = make_engine(1);
  const Model model = load_model(engine, dir.file("m.mnw"));
  const std::vector<int32_t> tokens = {1, 50, 100, 150, 200, 250, 300, 319};
  return all_logits(make_session(model, 16), tokens, tokens.size());
}

nlohmann::json read_config(const std::string& directory) {
  const Bytes text = read_bytes(directory + "/config.json");
  return nlohmann::json::parse(text.begin(), text.end());
}

/// The tensors of model.safetensors: name, header entry, bytes.
struct Stored {
  std::string name;
  nlohmann::json entry;
  Bytes bytes;
};

std::vector<Stored> read_tensors(const std::string& directory) {
  const Bytes file = read_bytes(directory + "/model.safetensors");
  uint64_t size = 0;
  std::memcpy(&size, file.data(), 8);
  const auto data = file.begin() + 8 + static_cast<std::ptrdiff_t>(size);
  const auto header = nlohmann::json::parse(file.begin() + 8, data);
  std::vector<Stored> out;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    const auto begin = entry["data_offsets"][0].get<std::ptrdiff_t>(),
               end = entry["data_offsets"][1].get<std::ptrdiff_t>();
    out.push_back({name, entry, Bytes(data + begin, data + end)});
  }
  return out;
}

void write_tensors(const std::string& path, std::vector<Stored> tensors) {
  nlohmann::json header;
  Bytes data;
  for (Stored& t : tensors) {
    t.entry["data_offsets"] = {data.size(), data.size() + t.bytes.size()};
    header[t.name] = t.entry;
    data.insert(data.end(), t.bytes.begin(), t.bytes.end());
  }
  Bytes file = safetensors(header.dump(), 0);
  file.insert(file.end(), data.begin(), data.end());
  write_bytes(path, file);
}

TEST(HfImport, ShardsEqualOneFile) {
  const TempDir dir;
  const std::string path = dir.file("model");
  fs::copy(kFixture, path);
  const auto all = read_tensors(path);
  fs::remove(path + "/model.safetensors");
  nlohmann::json map;
  std::vector<Stored> parts[3];
  for (size_t i = 0; i < all.size(); ++i) {
    parts[i % 3].push_back(all[i]);
    map[all[i].name] = "model-" + std::to_string(i % 3) + ".safetensors";
  }
  for (size_t i = 0; i < 3; ++i)
    write_tensors(path + "/model-" + std::to_string(i) + ".safetensors", parts[i]);
  std::ofstream(path + "/model.safetensors.index.json") << nlohmann::json{{"weight_map", map}}.dump();
  EXPECT_EQ(logits_of(path), logits_of(kFixture));
}

TEST(HfImport, OlderConfigEqualsTheNewerForm) {
  const TempDir dir;
  const std::string path = dir.file("model");
  fs::copy(kFixture, path);
  auto config = read_config(path);
  config["rope_theta"] = config["rope_parameters"]["rope_theta"];
  config["torch_dtype"] = config["dtype"];
  config["rope_scaling"] = nullptr;
  config.erase("rope_parameters");
  config.erase("dtype");
  std::ofstream(path + "/config.json") << config.dump();
  EXPECT_EQ(logits_of(path), logits_of(kFixture));
}

TEST(HfImport, Float32WeightsEqualTheirBfloat16) {
  const TempDir dir;
  const std::string path = dir.file("model");
  fs::copy(kFixture, path);
  auto tensors = read_tensors(path);
  for (Stored& t : tensors) {
    Bytes wide;
    for (size_t i = 0; i < t.bytes.size(); i += 2) {
      put<uint16_t>(wide, 0);
      wide.insert(wide.end(), {t.bytes[i], t.bytes[i + 1]});
    }
    t.bytes = wide;
    t.entry["dtype"] = "F32";
  }
  write_tensors(path + "/model.safetensors", tensors);
  EXPECT_EQ(logits_of(path), logits_of(kFixture));
}

TEST(HfImport, TokenIdsOutsideTheVocabularyAreLeftOutWithAWarning) {
  const TempDir dir;
  const std::string path = dir.file("model");
  fs::copy(kFixture, path);
  fs::remove(path + "/generation_config.json");
  auto config = read_config(path);
  config["eos_token_id"] = {2, 50256};
  std::ofstream(path + "/config.json") << config.dump();
  auto imported = compress::import_model(path);
  ASSERT_TRUE(imported.ok()) << imported.status().message();
  EXPECT_THAT(imported->eos_ids, ::testing::ElementsAre(2));
  EXPECT_THAT(imported->warnings, ::testing::Contains(::testing::HasSubstr("50256")));
}

compress::HfConfig config_of(const std::string& fixture, const std::function<void(nlohmann::json&)>& edit) {
  auto json = read_config(MINNOW_TEST_DATA "/arch/" + fixture);
  edit(json);
  json = nlohmann::json::parse(json.dump());  // as a file would be read
  auto config = compress::read_hf_config(compress::JsonObject(json, "config.json"));
  EXPECT_TRUE(config.ok()) << config.status().message();
  return config.ok() ? *config : compress::HfConfig{};
}

using ::testing::Each;
using ::testing::ElementsAre;

TEST(HfConfig, Qwen2HasAWindowOnlyWhenToldSo) {
  EXPECT_THAT(config_of("qwen2", [](auto& j) { j["sliding_window"] = 9; }).sliding_window, Each(0u));
  const auto used = config_of("qwen2", [](auto& j) {
    j["sliding_window"] = 9;
    j["use_sliding_window"] = true;
    j["max_window_layers"] = 1;
    j.erase("layer_types");
  });
  EXPECT_THAT(used.sliding_window, ElementsAre(0u, 9u, 9u));
}

TEST(HfConfig, SmolLm3WindowsTheLayersThatDoNotRotate) {
  const auto c = config_of("smollm3-nope", [](auto& j) {
    j["sliding_window"] = 9;
    j["use_sliding_window"] = true;
    j["no_rope_layers"] = {1, 0, 1, 0};
    j.erase("layer_types");
  });
  EXPECT_THAT(c.sliding_window, ElementsAre(0u, 9u, 0u, 9u));
  EXPECT_THAT(c.rope, ElementsAre(0, -1, 0, -1));
  const auto by_interval = config_of("smollm3-nope", [](auto& j) {
    j.erase("no_rope_layers");
    j["no_rope_layer_interval"] = 3;
  });
  EXPECT_THAT(by_interval.rope, ElementsAre(0, 0, -1, 0));
}

TEST(HfConfig, GemmasOlderFormAlternates) {
  const auto two = config_of("gemma2", [](auto& j) { j.erase("layer_types"); });
  EXPECT_THAT(two.sliding_window, ElementsAre(12u, 0u));
  const auto three = config_of("gemma3", [](auto& j) {
    j.erase("layer_types");
    j.erase("rope_parameters");
    j["_sliding_window_pattern"] = 3;
    j["rope_theta"] = 1e6;
    j["rope_local_base_freq"] = 10000.0;
  });
  EXPECT_THAT(three.sliding_window, ElementsAre(12u, 12u, 0u, 12u, 12u, 0u));
  EXPECT_THAT(three.rope, ElementsAre(1, 1, 0, 1, 1, 0));
}

TEST(HfConfig, AbsentAndNullAreToldApart) {
  EXPECT_EQ(config_of("gemma2", [](auto& j) { j.erase("attn_logit_softcapping"); }).config.attention_softcap,
            50.0f);
  EXPECT_EQ(
      config_of("gemma2", [](auto& j) { j["attn_logit_softcapping"] = nullptr; }).config.attention_softcap,
      0.0f);
  EXPECT_THAT(config_of("mistral-sliding", [](auto& j) { j.erase("sliding_window"); }).sliding_window,
              Each(4096u));
  EXPECT_THAT(config_of("mistral-sliding", [](auto& j) { j["sliding_window"] = nullptr; }).sliding_window,
              Each(0u));
}

}  // namespace
}  // namespace minnow::testing
