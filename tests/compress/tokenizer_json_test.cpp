// What the importer of tokenizer.json refuses, and how it says so.
#include "compress/tokenizer_json.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "format/tokenizer_builder.h"

namespace minnow::compress {
namespace {

using nlohmann::json;

class TokenizerJson : public ::testing::Test {
 protected:
  TokenizerJson() {
    dir_ = std::filesystem::temp_directory_path() /
           ("minnow_tokenizer_" + std::to_string(::testing::UnitTest::GetInstance()->random_seed()) + "_" +
            ::testing::UnitTest::GetInstance()->current_test_info()->name() + std::to_string(::getpid()));
    std::filesystem::create_directories(dir_);
    std::ifstream in(MINNOW_TEST_DATA "/tokenizers/tiny-spm/tokenizer.json");
    root_ = json::parse(in);
  }
  ~TokenizerJson() override { std::filesystem::remove_all(dir_); }

  void write(const std::string& name, const std::string& text) { std::ofstream(dir_ / name) << text; }
  Result<ImportedTokenizer> import() {
    write("tokenizer.json", root_.dump());
    return import_tokenizer_json(dir_.string());
  }

  std::filesystem::path dir_;
  json root_;
};

TEST_F(TokenizerJson, ImportsAlone) {
  auto t = import();
  ASSERT_TRUE(t.ok()) << t.status().message();
  EXPECT_EQ(t->data.prefix_ids, std::vector<uint32_t>{1});
  EXPECT_EQ(t->data.chat.kind, format::ChatKind::none);
  EXPECT_TRUE(format::build_tokenizer(t->data).ok());
}

TEST_F(TokenizerJson, RefusesByName) {
  struct Case {
    const char* says;
    std::function<void(json&)> apply;
  };
  const Case cases[] = {
      {"'Unigram'", [](json& j) { j["model"]["type"] = "Unigram"; }},
      {"'WordPiece'", [](json& j) { j["model"]["type"] = "WordPiece"; }},
      {"normalizer 'Precompiled'",
       [](json& j) {
         j["normalizer"] = {{"type", "Precompiled"}};
       }},
      {"normalizer 'BertNormalizer'",
       [](json& j) {
         j["normalizer"]["normalizers"][0] = {{"type", "BertNormalizer"}};
       }},
      {"pre_tokenizer 'BertPreTokenizer'",
       [](json& j) {
         j["pre_tokenizer"] = {{"type", "BertPreTokenizer"}};
       }},
      {"pre_tokenizer 'UnicodeScripts'",
       [](json& j) {
         j["pre_tokenizer"] = {{"type", "UnicodeScripts"}};
       }},
      {"decoder 'CTC'",
       [](json& j) {
         j["decoder"] = {{"type", "CTC"}};
       }},
      {"post_processor 'Odd'",
       [](json& j) {
         j["post_processor"] = {{"type", "Odd"}};
       }},
      {"end_of_word_suffix '</w>'", [](json& j) { j["model"]["end_of_word_suffix"] = "</w>"; }},
      {"dropout", [](json& j) { j["model"]["dropout"] = 0.1; }},
      {"no decoder", [](json& j) { j["decoder"] = nullptr; }},
  };
  const json good = root_;
  for (const Case& c : cases) {
    root_ = good;
    c.apply(root_);
    const Status s = import().status();
    EXPECT_EQ(s.code(), Code::unsupported) << c.says;
    EXPECT_NE(s.message().find(c.says), std::string::npos) << s.message();
  }
}

TEST_F(TokenizerJson, RefusesContradictions) {
  const std::function<void(json&)> cases[] = {
      [](json& j) { j.erase("model"); },
      [](json& j) { j["model"].erase("vocab"); },
      [](json& j) { j["model"]["vocab"]["h"] = -1; },
      [](json& j) { j["model"]["vocab"]["h"] = 1e30; },
      [](json& j) { j["model"]["vocab"]["h"] = 4000000000u; },
      [](json& j) { j["model"]["vocab"]["h"] = "x"; },
      [](json& j) { j["model"]["merges"][0] = "h"; },
      [](json& j) { j["model"]["merges"][0] = "h q"; },
      [](json& j) { j["model"]["merges"][0] = 7; },
      [](json& j) { j["added_tokens"][0].erase("id"); },
      [](json& j) { j["post_processor"]["special_tokens"]["<s>"]["ids"][0] = 99999; },
      [](json& j) {
        j["normalizer"]["normalizers"][1]["pattern"] = {{"String", ""}};
      },
  };
  const json good = root_;
  int number = 0;
  for (const auto& apply : cases) {
    root_ = good;
    apply(root_);
    const auto t = import();
    EXPECT_FALSE(t.ok()) << number;
    EXPECT_EQ(t.status().code(), Code::corrupt) << number << ": " << t.status().message();
    ++number;
  }
  write("tokenizer.json", "{\"model\": {");
  EXPECT_EQ(import_tokenizer_json(dir_.string()).status().code(), Code::corrupt);
  EXPECT_EQ(import_tokenizer_json((dir_ / "nowhere").string()).status().code(), Code::not_found);
}

TEST_F(TokenizerJson, OtherFilesOfTheDirectory) {
  write("tokenizer_config.json",
        R"({"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": false, "add_eos_token": true,
            "bos_token": {"content": "<s>"}, "eos_token": "</s>",
            "chat_template": [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "<|im_start|><|im_end|>"}]})");
  write("generation_config.json", R"({"eos_token_id": [2, 5, 123456]})");
  auto t = import();
  ASSERT_TRUE(t.ok()) << t.status().message();
  EXPECT_TRUE(t->data.prefix_ids.empty());
  EXPECT_FALSE(t->data.add_bos);
  EXPECT_EQ(t->data.suffix_ids, std::vector<uint32_t>{2});
  EXPECT_EQ(t->data.end_ids, (std::vector<uint32_t>{2, 5}));
  EXPECT_EQ(t->data.chat.kind, format::ChatKind::chatml);
  ASSERT_EQ(t->warnings.size(), 1u);
  EXPECT_NE(t->warnings[0].find("123456"), std::string::npos);
  write("chat_template.jinja", "{{ something else }}");  // wins over tokenizer_config.json
  t = import();
  ASSERT_TRUE(t.ok());
  EXPECT_EQ(t->data.chat.kind, format::ChatKind::unknown);
  EXPECT_EQ(t->warnings.size(), 2u);
}

}  // namespace
}  // namespace minnow::compress
