// Ids and texts against those that Hugging Face's tokenizers and llama.cpp give. The vocabularies are
// not ours to ship: MINNOW_DATA names a folder that has fixtures/tokenizers.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "compress/gguf_reader.h"
#include "compress/tokenizer_gguf.h"
#include "compress/tokenizer_json.h"
#include "support/environment.h"
#include "support/tokenizer_support.h"

namespace minnow::test {
namespace {

std::string data_folder() {
  const std::string data = testing::data_folder();
  return data.empty() ? std::string() : data + "/fixtures/tokenizers";
}

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  std::ostringstream s;
  s << in.rdbuf();
  return s.str();
}

#define NEED_DATA() \
  if (data_folder().empty()) GTEST_SKIP() << "set MINNOW_DATA to a folder with fixtures/tokenizers"

class JsonFixture : public ::testing::TestWithParam<const char*> {};

TEST_P(JsonFixture, EncodesAndDecodesAsHuggingFace) {
  NEED_DATA();
  const std::string base = data_folder() + "/" + GetParam();
  auto t = make_tokenizer(compress::import_tokenizer_json_file(base + ".tokenizer.json"));
  ASSERT_TRUE(t.ok()) << t.status().message();
  const auto cases = nlohmann::json::parse(slurp(base + ".expected.json"));
  ASSERT_FALSE(cases.empty());
  for (const auto& c : cases) {
    const std::string text = c["text"];
    const std::vector<int32_t> ids = c["ids"];
    EXPECT_EQ(encode(**t, text), ids) << text;
    EXPECT_EQ((*t)->decode(ids, false), c["decoded"].get<std::string>()) << text;
    EXPECT_EQ(stream(**t, ids), c["decoded"].get<std::string>()) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(All, JsonFixture,
                         ::testing::Values("smollm", "llama2", "qwen2.5", "gpt2", "books-4k", "books-16k"),
                         [](const auto& param) {
                           std::string name = param.param;
                           std::erase_if(name, [](char c) { return c == '-' || c == '.'; });
                           return name;
                         });

/// The strings of an .inp file and the ids of the .out file beside it.
struct Pair {
  std::vector<std::string> texts;
  std::vector<std::vector<int32_t>> ids;
};

Pair read_pair(const std::string& base) {
  Pair p;
  const std::string inp = slurp(base + ".inp");
  const std::string mark = "\n__ggml_vocab_test__\n";
  for (size_t at = 0; at < inp.size();) {
    const size_t end = inp.find(mark, at);
    p.texts.push_back(inp.substr(at, end - at));
    if (end == std::string::npos) break;
    at = end + mark.size();
  }
  std::istringstream out(slurp(base + ".out"));
  for (std::string line; std::getline(out, line);) {
    std::istringstream numbers(line);
    p.ids.emplace_back(std::istream_iterator<int32_t>(numbers), std::istream_iterator<int32_t>());
  }
  return p;
}

void expect_pair(const text::Tokenizer& t, const std::string& base) {
  const Pair p = read_pair(base);
  ASSERT_EQ(p.texts.size(), p.ids.size());
  ASSERT_GT(p.texts.size(), 10u);
  for (size_t i = 0; i < p.texts.size(); ++i) {
    EXPECT_EQ(encode(t, p.texts[i], false, false), p.ids[i]) << "string " << i << ": " << p.texts[i];
    EXPECT_EQ(t.decode(p.ids[i], false), stream(t, p.ids[i])) << "string " << i;
  }
}

class GgufFixture : public ::testing::TestWithParam<const char*> {};

TEST_P(GgufFixture, EncodesAsLlamaCpp) {
  NEED_DATA();
  const std::string base = data_folder() + "/llama.cpp/ggml-vocab-" + GetParam() + ".gguf";
  auto gguf = compress::GgufReader::open(base);
  ASSERT_TRUE(gguf.ok()) << gguf.status().message();
  auto t = make_tokenizer(compress::import_tokenizer_gguf(*gguf));
  ASSERT_TRUE(t.ok()) << t.status().message();
  expect_pair(**t, base);
}

INSTANTIATE_TEST_SUITE_P(All, GgufFixture,
                         ::testing::Values("llama-spm", "phi-3", "gpt-2", "falcon", "deepseek-coder"),
                         [](const auto& param) {
                           std::string name = param.param;
                           std::erase(name, '-');
                           return name;
                         });

TEST(PairFixture, Qwen2PairWithTheQwen25Vocabulary) {
  NEED_DATA();
  auto t = make_tokenizer(compress::import_tokenizer_json_file(data_folder() + "/qwen2.5.tokenizer.json"));
  ASSERT_TRUE(t.ok()) << t.status().message();
  expect_pair(**t, data_folder() + "/llama.cpp/ggml-vocab-qwen2.gguf");
}

TEST(PairFixture, LlamaBpe) {
  GTEST_SKIP()
      << "ggml-vocab-llama-bpe has an .inp/.out pair but no vocabulary in MINNOW_DATA/fixtures/tokenizers";
}

TEST(LongText, OneMegabyteComesBack) {
  NEED_DATA();
  auto t = make_tokenizer(compress::import_tokenizer_json_file(data_folder() + "/qwen2.5.tokenizer.json"));
  ASSERT_TRUE(t.ok());
  std::string text;
  for (const auto& c : nlohmann::json::parse(slurp(data_folder() + "/qwen2.5.expected.json"))) {
    text += c["text"].get<std::string>() + "\n";
  }
  while (text.size() < (1u << 20)) text += text;
  const auto ids = encode(**t, text);
  EXPECT_EQ(encode(**t, (*t)->decode(ids, false)), ids);
}

// A piece of a megabyte: merging it in quadratic time would take the better part of an hour.
TEST(LongText, OneLongPieceComesBack) {
  NEED_DATA();
  auto t = make_tokenizer(compress::import_tokenizer_json_file(data_folder() + "/llama2.tokenizer.json"));
  ASSERT_TRUE(t.ok());
  const std::string text(1 << 20, 'a');
  const auto ids = encode(**t, text);
  EXPECT_LT(ids.size(), text.size());
  EXPECT_EQ((*t)->decode(ids, false), text);
}

}  // namespace
}  // namespace minnow::test
