#include "compress/gguf_reader.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "compress/tokenizer_gguf.h"

namespace minnow::compress {
namespace {

/// Writes a GGUF field by field, so that each can be made wrong.
struct Writer {
  std::string bytes;
  template <typename T>
  Writer& put(T v) {
    bytes.append(reinterpret_cast<const char*>(&v), sizeof v);
    return *this;
  }
  Writer& text(std::string_view s) {
    put<uint64_t>(s.size());
    bytes.append(s);
    return *this;
  }
};

struct Tensor {
  std::string name = "w";
  std::vector<uint64_t> dims = {32, 2};
  uint32_t type = 0;
  uint64_t offset = 0;
};

struct File {
  uint32_t magic = 0x46554747, version = 3;
  uint64_t tensor_count = 2, entry_count = 3;
  uint32_t alignment = 32;
  std::string key = "general.name";
  uint32_t value_type = 8;
  uint32_t array_type = 8;
  uint64_t array_count = 2;
  std::vector<Tensor> tensors = {Tensor{}, Tensor{"v", {64}, 0, 256}};
  uint64_t data_bytes = 512;

  std::string build() const {
    Writer w;
    w.put(magic).put(version).put(tensor_count).put(entry_count);
    w.text("general.alignment").put<uint32_t>(4).put(alignment);
    w.text(key).put(value_type).text("tiny");
    w.text("list").put<uint32_t>(9).put(array_type).put(array_count).text("a").text("bc");
    for (const Tensor& t : tensors) {
      w.text(t.name).put(static_cast<uint32_t>(t.dims.size()));
      for (const uint64_t d : t.dims) w.put(d);
      w.put(t.type).put(t.offset);
    }
    while (w.bytes.size() % 32 != 0) w.put<uint8_t>(0);
    w.bytes.append(data_bytes, '\x01');
    return w.bytes;
  }
};

Result<GgufReader> parse(const std::string& bytes) {
  return GgufReader::parse(MappedFile::from_memory(std::as_bytes(std::span(bytes.data(), bytes.size()))));
}

TEST(Gguf, ReadsWhatIsThere) {
  const std::string bytes = File{}.build();
  auto g = parse(bytes);
  ASSERT_TRUE(g.ok()) << g.status().message();
  EXPECT_EQ(*g->string("general.name"), "tiny");
  EXPECT_EQ(*g->integer("general.alignment"), 32);
  EXPECT_EQ(*g->number("general.alignment"), 32.0);
  EXPECT_EQ(*g->strings("list"), (std::vector<std::string_view>{"a", "bc"}));
  EXPECT_EQ(g->string("nothing").status().code(), Code::not_found);
  EXPECT_EQ(g->integer("general.name").status().code(), Code::corrupt);
  EXPECT_EQ(g->integers("list").status().code(), Code::corrupt);
  EXPECT_EQ(g->strings("general.name").status().code(), Code::corrupt);
  ASSERT_EQ(g->tensors().size(), 2u);
  const GgufTensor* w = g->find_tensor("w");
  ASSERT_NE(w, nullptr);
  EXPECT_EQ(w->dims, (std::array<uint64_t, 4>{32, 2, 1, 1}));
  EXPECT_EQ(g->data(*w)->size(), 256u);
  EXPECT_EQ(g->find_tensor("x"), nullptr);
  EXPECT_EQ(g->keys().size(), 3u);
}

TEST(Gguf, UnknownTypesMatterOnlyWhenUsed) {
  File f;
  f.tensors[1].type = 200;
  const std::string bytes = f.build();
  auto g = parse(bytes);
  ASSERT_TRUE(g.ok()) << g.status().message();
  const Status s = g->data(*g->find_tensor("v")).status();
  EXPECT_EQ(s.code(), Code::unsupported);
  EXPECT_NE(s.message().find("'v' has ggml type 200"), std::string::npos) << s.message();
}

struct Mutation {
  const char* name;
  void (*apply)(File&);
  Code code;
  const char* says;
};

TEST(Gguf, MutationTable) {
  constexpr uint64_t kHuge = uint64_t{1} << 60;
  const Mutation table[] = {
      {"magic", [](File& f) { f.magic = 1; }, Code::corrupt, "not a GGUF file"},
      {"version 1", [](File& f) { f.version = 1; }, Code::unsupported, "version 1"},
      {"version 4", [](File& f) { f.version = 4; }, Code::unsupported, "version 4"},
      {"big-endian", [](File& f) { f.version = 0x03000000; }, Code::unsupported, "big-endian"},
      {"tensor count", [](File& f) { f.tensor_count = kHuge; }, Code::corrupt, "1152921504606846976 tensors"},
      {"entry count", [](File& f) { f.entry_count = kHuge; }, Code::corrupt,
       "1152921504606846976 metadata entries"},
      {"one entry more", [](File& f) { f.entry_count = 4; }, Code::corrupt, ""},
      {"array count", [](File& f) { f.array_count = kHuge; }, Code::corrupt, "metadata 'list' promises"},
      {"array type", [](File& f) { f.array_type = 77; }, Code::unsupported, "array of type 77"},
      {"array of arrays", [](File& f) { f.array_type = 9; }, Code::unsupported, "array of type 9"},
      {"value type", [](File& f) { f.value_type = 13; }, Code::unsupported, "has type 13"},
      {"duplicate key", [](File& f) { f.key = "general.alignment"; }, Code::corrupt, "twice"},
      {"empty key", [](File& f) { f.key = ""; }, Code::corrupt, "key"},
      {"alignment 0", [](File& f) { f.alignment = 0; }, Code::corrupt, "alignment is 0"},
      {"alignment 24", [](File& f) { f.alignment = 24; }, Code::corrupt, "alignment is 24"},
      {"alignment huge", [](File& f) { f.alignment = 1u << 31; }, Code::corrupt, "alignment"},
      {"no dimensions", [](File& f) { f.tensors[0].dims = {}; }, Code::corrupt, "0 dimensions"},
      {"five dimensions",
       [](File& f) {
         f.tensors[0].dims = {1, 1, 1, 1, 1};
       },
       Code::corrupt, "5 dimensions"},
      {"dimension 0",
       [](File& f) {
         f.tensors[0].dims = {32, 0};
       },
       Code::corrupt, "dimension 0"},
      {"dims overflow",
       [](File& f) {
         f.tensors[0].dims = {uint64_t{1} << 33, uint64_t{1} << 33};
       },
       Code::corrupt, "'w'"},
      {"bytes overflow",
       [](File& f) {
         f.tensors[0].dims = {uint64_t{1} << 60};
         f.tensors[0].type = 28;
       },
       Code::corrupt, "'w'"},
      {"ragged block",
       [](File& f) {
         f.tensors[0].dims = {33};
         f.tensors[0].type = 8;
       },
       Code::corrupt, "Q8_0"},
      {"offset outside", [](File& f) { f.tensors[1].offset = 4096; }, Code::corrupt, "'v' needs 256 bytes"},
      {"offset overflow", [](File& f) { f.tensors[1].offset = ~uint64_t{31}; }, Code::corrupt, "'v'"},
      {"offset unaligned", [](File& f) { f.tensors[1].offset = 255; }, Code::corrupt, "alignment 32"},
      {"duplicate tensor", [](File& f) { f.tensors[1].name = f.tensors[0].name; }, Code::corrupt,
       "tensor 'w' is there twice"},
      {"overlap", [](File& f) { f.tensors[1].offset = 224; }, Code::corrupt, "overlap"},
      {"data cut off", [](File& f) { f.data_bytes = 500; }, Code::corrupt, "downloaded in full"},
  };
  for (const Mutation& m : table) {
    File f;
    m.apply(f);
    const std::string bytes = f.build();
    const auto g = parse(bytes);
    ASSERT_FALSE(g.ok()) << m.name;
    EXPECT_EQ(g.status().code(), m.code) << m.name << ": " << g.status().message();
    EXPECT_NE(g.status().message().find(m.says), std::string::npos) << m.name << ": " << g.status().message();
  }
}

TEST(Gguf, TruncatedAnywhere) {
  const std::string whole = File{}.build();
  for (size_t n = 0; n < whole.size(); ++n) {
    const std::string cut = whole.substr(0, n);
    EXPECT_FALSE(parse(cut).ok()) << n;
  }
}

TEST(Gguf, EveryByteFlipped) {
  std::string bytes = File{}.build();
  for (size_t i = 0; i < bytes.size() - 512; ++i) {
    for (const int mask : {0xFF, 0x01, 0x80}) {
      bytes[i] = static_cast<char>(bytes[i] ^ mask);
      auto g = parse(bytes);
      if (g.ok()) {
        (void)g->strings("list").ok();
        for (const GgufTensor& t : g->tensors()) (void)g->data(t).ok();
        (void)import_tokenizer_gguf(*g).ok();
      }
      bytes[i] = static_cast<char>(bytes[i] ^ mask);
    }
  }
}

/// A GGUF with nothing but a tokenizer.
std::string tokenizer_file(std::string_view model, std::string_view pre) {
  Writer w;
  w.put<uint32_t>(0x46554747).put<uint32_t>(3).put<uint64_t>(0).put<uint64_t>(4);
  w.text("tokenizer.ggml.model").put<uint32_t>(8).text(model);
  w.text(pre.empty() ? "nothing" : "tokenizer.ggml.pre").put<uint32_t>(8).text(pre);
  w.text("tokenizer.ggml.tokens")
      .put<uint32_t>(9)
      .put<uint32_t>(8)
      .put<uint64_t>(3)
      .text("a")
      .text("b")
      .text("ab");
  w.text("tokenizer.ggml.merges").put<uint32_t>(9).put<uint32_t>(8).put<uint64_t>(1).text("a b");
  return w.bytes;
}

TEST(GgufTokenizer, KnownPreTypesOnly) {
  for (const char* pre : {"llama-bpe", "qwen2", "gpt-2", "smollm", "falcon", "deepseek-coder", "tekken"}) {
    const std::string bytes = tokenizer_file("gpt2", pre);
    auto g = parse(bytes);
    ASSERT_TRUE(g.ok());
    auto t = import_tokenizer_gguf(*g);
    ASSERT_TRUE(t.ok()) << t.status().message();
    EXPECT_EQ(t->data.merges.at(0).result, 2u);
  }
  struct {
    const char *model, *pre, *says;
  } refused[] = {{"gpt2", "my-own", "'my-own'"},
                 {"gpt2", "", "tokenizer.ggml.pre is missing"},
                 {"bert", "x", "'bert'"},
                 {"t5", "x", "'t5'"}};
  for (const auto& r : refused) {
    const std::string bytes = tokenizer_file(r.model, r.pre);
    auto g = parse(bytes);
    ASSERT_TRUE(g.ok());
    const Status s = import_tokenizer_gguf(*g).status();
    EXPECT_EQ(s.code(), Code::unsupported);
    EXPECT_NE(s.message().find(r.says), std::string::npos) << s.message();
  }
}

}  // namespace
}  // namespace minnow::compress
