// GGUF import: block formats by hand, and a whole model that must equal its Hugging Face twin.
#include <gmock/gmock.h>

#include <cmath>

#include "compress/safetensors.h"
#include "support/bytes.h"
#include "support/models.h"

namespace minnow::testing {
namespace {

TEST(Widen, ReadsQ8BlocksAndQ4Blocks) {
  Bytes q8;
  put<uint16_t>(q8, 0x3800);  // 0.5
  for (int i = 0; i < 32; ++i) put<int8_t>(q8, static_cast<int8_t>(i * 8 - 128));
  ASSERT_EQ(q8.size(), compress::source_bytes(compress::SourceType::q8_0, 32));
  float out[32];
  compress::widen(compress::SourceType::q8_0, reinterpret_cast<const uint8_t*>(q8.data()), 32, out);
  for (int i = 0; i < 32; ++i) EXPECT_EQ(out[i], 0.5f * static_cast<float>(i * 8 - 128)) << i;

  Bytes q4;
  put<uint16_t>(q4, 0xc000);  // -2
  for (int i = 0; i < 16; ++i) put<uint8_t>(q4, static_cast<uint8_t>(i | ((15 - i) << 4)));
  ASSERT_EQ(q4.size(), compress::source_bytes(compress::SourceType::q4_0, 32));
  compress::widen(compress::SourceType::q4_0, reinterpret_cast<const uint8_t*>(q4.data()), 32, out);
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(out[i], -2.0f * static_cast<float>(i - 8)) << i;
    EXPECT_EQ(out[i + 16], -2.0f * static_cast<float>(7 - i)) << i;
  }
  EXPECT_EQ(compress::source_bytes(compress::SourceType::q4_0, 33), 0u) << "blocks cannot cut this";
}

TEST(Widen, ReadsEveryHalf) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    float out = 0.0f;
    compress::widen(compress::SourceType::f16, reinterpret_cast<const uint8_t*>(&half), 1, &out);
    const int exponent = (half >> 10) & 31, mantissa = half & 1023;
    if (exponent == 31) {
      EXPECT_EQ(std::isnan(out), mantissa != 0) << bits;
      EXPECT_FALSE(std::isfinite(out)) << bits;
      continue;
    }
    const double magnitude =
        exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
    EXPECT_EQ(out, static_cast<float>((half & 0x8000) != 0 ? -magnitude : magnitude)) << bits;
  }
}

/// The fixture's tensors in a GGUF file as its own converters write them: q and k with the rotated pairs side
/// by side, linears in `type` (0: f32, 1: f16), norms in f32.
class Twin {
 public:
  explicit Twin(const std::string& directory) {
    auto opened = compress::open_safetensors(directory);
    source_ = std::move(opened).value();
    gguf_.text("general.architecture", "llama").text("general.name", "twin");
    gguf_.uint("llama.embedding_length", 64).uint("llama.block_count", 3);
    gguf_.uint("llama.feed_forward_length", 160).uint("llama.attention.head_count", 4);
    gguf_.uint("llama.attention.head_count_kv", 2).uint("llama.context_length", 512);
    gguf_.uint("llama.attention.key_length", 16).uint("llama.attention.value_length", 16);
    gguf_.uint("llama.rope.dimension_count", 16).number("llama.rope.freq_base", 10000.0f);
    gguf_.number("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    add("token_embd.weight", "model.embed_tokens.weight", 0);
    add("output_norm.weight", "model.norm.weight", 0);
    for (int i = 0; i < 3; ++i) {
      const std::string to = "blk." + std::to_string(i) + ".",
                        from = "model.layers." + std::to_string(i) + ".";
      add(to + "attn_norm.weight", from + "input_layernorm.weight", 0);
      add(to + "ffn_norm.weight", from + "post_attention_layernorm.weight", 0);
      add(to + "attn_q.weight", from + "self_attn.q_proj.weight", 16);
      add(to + "attn_k.weight", from + "self_attn.k_proj.weight", 16);
      add(to + "attn_v.weight", from + "self_attn.v_proj.weight", 0);
      add(to + "attn_output.weight", from + "self_attn.o_proj.weight", 0);
      add(to + "ffn_gate.weight", from + "mlp.gate_proj.weight", 0);
      add(to + "ffn_up.weight", from + "mlp.up_proj.weight", 0);
      add(to + "ffn_down.weight", from + "mlp.down_proj.weight", 0);
    }
  }

  Bytes bytes() const {
    Bytes file = gguf_.bytes(0);
    file.insert(file.end(), data_.begin(), data_.end());
    return file;
  }

 private:
  void add(const std::string& name, const std::string& from, size_t head_dim) {
    const compress::SourceTensor& t = *source_->find(from);
    const size_t rows = t.shape.size() == 2 ? t.shape[0] : 1, cols = t.shape.back();
    std::vector<float> values(rows * cols);
    compress::widen(t.type, t.data, values.size(), values.data());
    gguf_.tensor(name, {t.shape.rbegin(), t.shape.rend()}, 0, data_.size());
    for (size_t r = 0; r < rows; ++r) {
      size_t row = r;
      if (head_dim != 0) {
        const size_t in_head = r % head_dim;
        row = r - in_head + in_head / 2 + (in_head % 2) * (head_dim / 2);
      }
      for (size_t c = 0; c < cols; ++c) put<float>(data_, values[row * cols + c]);
    }
    data_.resize((data_.size() + 31) / 32 * 32);
  }

  std::unique_ptr<compress::TensorSource> source_;
  Gguf gguf_;
  Bytes data_;
};

TEST(GgufImport, AModelEqualsItsHuggingFaceTwin) {
  const std::string directory = MINNOW_TEST_DATA "/arch/llama-tied-gqa";
  const TempDir dir;
  write_bytes(dir.file("twin.gguf"), Twin(directory).bytes());
  compress(dir.file("twin.gguf"), dir.file("gguf.mnw"), compress::Storage::f32);
  compress(directory, dir.file("hf.mnw"), compress::Storage::f32);
  const Engine engine = make_engine(1);
  const Model a = load_model(engine, dir.file("gguf.mnw")), b = load_model(engine, dir.file("hf.mnw"));
  ASSERT_NE(a, nullptr);
  ASSERT_NE(b, nullptr);
  const std::vector<int32_t> tokens = {1, 50, 100, 150, 200, 250, 300, 319, 7, 8, 9};
  const auto x = all_logits(make_session(a, 32), tokens, tokens.size());
  const auto y = all_logits(make_session(b, 32), tokens, tokens.size());
  EXPECT_EQ(x, y);
}

}  // namespace
}  // namespace minnow::testing
