// GGUF files: metadata keys to config, tensors to their places.
#include <cmath>

#include "compress/gguf_reader.h"
#include "compress/imported_model.h"
#include "compress/tensor_picker.h"
#include "compress/tokenizer_gguf.h"

namespace minnow::compress {
namespace {

/// The differences between the architectures minnow reads from GGUF.
struct Architecture {
  const char* name;
  bool interleaved_rope;  ///< q and k rows stored with rotated pairs side by side
  bool qk_norm;
};

constexpr Architecture kArchitectures[] = {
    {"llama", true, false},
    {"qwen2", false, false},
    {"qwen3", false, true},
};

/// ggml's numbers of the types minnow reads.
std::optional<SourceType> source_type(uint32_t ggml_type) {
  switch (ggml_type) {
    case 0:
      return SourceType::f32;
    case 1:
      return SourceType::f16;
    case 2:
      return SourceType::q4_0;
    case 8:
      return SourceType::q8_0;
    case 30:
      return SourceType::bf16;
    default:
      return std::nullopt;
  }
}

/// The tensors of a GGUF file under Hugging Face's order of dimensions.
class GgufSource : public TensorSource {
 public:
  static Result<std::shared_ptr<GgufSource>> open(const std::string& path) {
    MINNOW_ASSIGN(GgufReader reader, GgufReader::open(path));
    auto source = std::make_shared<GgufSource>(std::move(reader));
    for (const GgufTensor& t : source->reader_.tensors()) {
      SourceTensor s;
      s.name = std::string(t.name);
      const auto type = source_type(t.type);
      if (!type) {
        const auto info = ggml_type_info(t.type);
        return fail(Code::unsupported, "'", path, "': tensor '", s.name, "' has type ",
                    info ? std::string(info->name) : cat(t.type),
                    "; minnow reads f32, f16, bf16, q8_0 and q4_0");
      }
      s.type = *type;
      for (uint32_t d = t.dim_count; d-- > 0;) s.shape.push_back(t.dims[d]);
      MINNOW_ASSIGN(const auto bytes, source->reader_.data(t));
      s.data = reinterpret_cast<const uint8_t*>(bytes.data());
      if (source_bytes(s.type, s.elements()) != bytes.size()) {
        return fail(Code::corrupt, "'", path, "': tensor '", s.name, "' has rows that its blocks cannot cut");
      }
      source->add(std::move(s));
    }
    return source;
  }

  explicit GgufSource(GgufReader reader) : reader_(std::move(reader)) {}
  const GgufReader& reader() const { return reader_; }
  void forget() const override { reader_.forget(); }

 private:
  GgufReader reader_;
};

class Importer {
 public:
  Importer(const GgufReader& gguf, const TensorSource& source, const std::string& path, ImportedModel& out)
      : gguf_(gguf),
        source_(source),
        path_(path),
        out_(out),
        c_(out.config),
        pick_(source, cat("'", path, "'")) {}

  Status run() {
    MINNOW_TRY(config());
    MINNOW_TRY(ropes());
    out_.layers.resize(layers_);
    for (uint32_t i = 0; i < layers_; ++i) MINNOW_TRY(layer(i));
    MINNOW_TRY(pick_.linear(out_.embedding, "token_embd", c_.vocab_size, c_.hidden_size, Bias::optional));
    if (pick_.has("output.weight"))
      MINNOW_TRY(pick_.linear(out_.head, "output", c_.vocab_size, c_.hidden_size, Bias::optional));
    MINNOW_TRY(pick_.norm(out_.final_norm, "output_norm", c_.hidden_size, Bias::none));
    MINNOW_TRY(pick_.finish());
    out_.parameters = pick_.elements();
    return {};
  }

 private:
  Result<uint32_t> uint(const char* name, std::optional<uint32_t> otherwise = {}) {
    const std::string key = cat(architecture_.name, ".", name);
    if (otherwise && !gguf_.has(key)) return *otherwise;
    MINNOW_ASSIGN(const int64_t v, gguf_.integer(key));
    if (v < 0 || v > 0x7fffffff) return fail(Code::corrupt, "'", path_, "': '", key, "' is ", v);
    return static_cast<uint32_t>(v);
  }

  Result<double> number(const char* name, double otherwise) {
    const std::string key = cat(architecture_.name, ".", name);
    if (!gguf_.has(key)) return otherwise;
    return gguf_.number(key);
  }

  Status config() {
    MINNOW_ASSIGN(const std::string_view name, gguf_.string("general.architecture"));
    for (const Architecture& a : kArchitectures) {
      if (name == a.name) architecture_ = a;
    }
    if (architecture_.name == nullptr) {
      return fail(Code::unsupported, "'", path_, "': the architecture '", name,
                  "' is not known in GGUF files; minnow reads llama, qwen2 and qwen3, others from their "
                  "Hugging Face directory");
    }
    c_.architecture = std::string(name);
    const SourceTensor* embedding = source_.find("token_embd.weight");
    if (embedding == nullptr || embedding->shape.size() != 2) {
      return fail(Code::not_found, "'", path_,
                  "' has no tensor 'token_embd.weight'; it holds a vocabulary only, or is damaged");
    }
    if (embedding->shape[0] > (1u << 24))
      return fail(Code::corrupt, "'", path_, "' claims a vocabulary of ", embedding->shape[0]);
    c_.vocab_size = static_cast<uint32_t>(embedding->shape[0]);
    MINNOW_ASSIGN(c_.hidden_size, uint("embedding_length"));
    MINNOW_ASSIGN(layers_, uint("block_count"));
    MINNOW_ASSIGN(c_.ffn_size, uint("feed_forward_length"));
    MINNOW_ASSIGN(c_.head_count, uint("attention.head_count"));
    MINNOW_ASSIGN(c_.kv_head_count, uint("attention.head_count_kv", c_.head_count));
    MINNOW_ASSIGN(c_.max_context, uint("context_length"));
    if (layers_ == 0 || layers_ > 4096 || c_.head_count == 0 || c_.kv_head_count == 0) {
      return fail(Code::corrupt, "'", path_, "' claims ", layers_, " layers, ", c_.head_count, " heads, ",
                  c_.kv_head_count, " KV heads");
    }
    MINNOW_ASSIGN(c_.head_dim, uint("attention.key_length", c_.hidden_size / c_.head_count));
    MINNOW_ASSIGN(const uint32_t value_dim, uint("attention.value_length", c_.head_dim));
    if (value_dim != c_.head_dim || c_.head_dim == 0) {
      return fail(Code::unsupported, "'", path_, "' has heads of ", c_.head_dim, " for keys and ", value_dim,
                  " for values");
    }
    for (const char* key : {"expert_count", "attention.sliding_window"}) {
      MINNOW_ASSIGN(const uint32_t v, uint(key, 0));
      if (v != 0)
        return fail(Code::unsupported, "'", path_, "' sets '", key,
                    "', which minnow does not read from GGUF files");
    }
    c_.embedding_size = c_.hidden_size;
    const std::string eps_key = cat(architecture_.name, ".attention.layer_norm_rms_epsilon");
    MINNOW_ASSIGN(const double eps, gguf_.number(eps_key));
    c_.norm_eps = static_cast<float>(eps);
    c_.attention_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c_.head_dim)));
    if (architecture_.qk_norm) c_.qk_norm = format::QkNorm::per_head;
    return {};
  }

  Status ropes() {
    MINNOW_ASSIGN(c_.rotary_dim, uint("rope.dimension_count", c_.head_dim));
    if (c_.rotary_dim < 2 || c_.rotary_dim > c_.head_dim || c_.rotary_dim % 2 != 0) {
      return fail(Code::corrupt, "'", path_, "': rope.dimension_count is ", c_.rotary_dim);
    }
    if (architecture_.interleaved_rope && c_.rotary_dim != c_.head_dim) {
      return fail(Code::unsupported, "'", path_, "' rotates ", c_.rotary_dim, " of ", c_.head_dim,
                  " dimensions of a head");
    }
    MINNOW_ASSIGN(const double theta, number("rope.freq_base", 10000.0));
    MINNOW_ASSIGN(double divide, number("rope.scale_linear", 1.0));  // the key of older files
    const std::string type_key = cat(architecture_.name, ".rope.scaling.type");
    if (gguf_.has(type_key)) {
      MINNOW_ASSIGN(const std::string_view type, gguf_.string(type_key));
      if (type == "linear") {
        MINNOW_ASSIGN(divide, number("rope.scaling.factor", 1.0));
      } else if (type != "none") {
        return fail(Code::unsupported, "'", path_, "': rope type '", type, "' is not known in GGUF files");
      }
    }
    if (!(divide > 0.0)) return fail(Code::corrupt, "'", path_, "': the rope scaling factor is ", divide);
    // Llama 3's scaling comes as one divisor a frequency.
    const size_t half = c_.rotary_dim / 2;
    std::vector<float> factors(half, 1.0f);
    if (pick_.has("rope_freqs.weight")) MINNOW_TRY(pick_.vector(factors, "rope_freqs.weight", half));
    format::Rope rope;
    for (size_t j = 0; j < half; ++j) {
      const double f = std::pow(theta, -2.0 * static_cast<double>(j) / c_.rotary_dim) / divide / factors[j];
      if (!std::isfinite(f)) return fail(Code::corrupt, "'", path_, "': the rope frequencies are not finite");
      rope.inv_freq.push_back(static_cast<float>(f));
    }
    c_.ropes.push_back(std::move(rope));
    return {};
  }

  Status layer(uint32_t i) {
    ImportedLayer& l = out_.layers[i];
    const std::string p = cat("blk.", i, ".");
    const uint32_t n = c_.hidden_size, q = c_.q_size(), kv = c_.kv_size(), f = c_.ffn_size;
    l.rope = 0;
    pick_.ignore(p + "attn_rot_embd.weight");
    MINNOW_TRY(pick_.norm(l.attn_norm, p + "attn_norm", n, Bias::none));
    MINNOW_TRY(pick_.norm(l.ffn_norm, p + "ffn_norm", n, Bias::none));
    MINNOW_TRY(pick_.linear(l.q, p + "attn_q", q, n, Bias::optional));
    MINNOW_TRY(pick_.linear(l.k, p + "attn_k", kv, n, Bias::optional));
    MINNOW_TRY(pick_.linear(l.v, p + "attn_v", kv, n, Bias::optional));
    MINNOW_TRY(pick_.linear(l.o, p + "attn_output", n, q, Bias::optional));
    MINNOW_TRY(pick_.linear(l.gate, p + "ffn_gate", f, n, Bias::optional));
    MINNOW_TRY(pick_.linear(l.up, p + "ffn_up", f, n, Bias::optional));
    MINNOW_TRY(pick_.linear(l.down, p + "ffn_down", n, f, Bias::optional));
    if (architecture_.qk_norm) {
      MINNOW_TRY(pick_.norm(l.q_norm, p + "attn_q_norm", c_.head_dim, Bias::none));
      MINNOW_TRY(pick_.norm(l.k_norm, p + "attn_k_norm", c_.head_dim, Bias::none));
    }
    if (architecture_.interleaved_rope) {
      for (ImportedLinear* x : {&l.q, &l.k}) {
        x->weight.interleaved_head_dim = c_.head_dim;
        if (!x->bias.empty())
          return fail(Code::unsupported, "'", path_,
                      "': biases of rotated q and k are not known in GGUF files");
      }
    }
    return {};
  }

  const GgufReader& gguf_;
  const TensorSource& source_;
  const std::string& path_;
  ImportedModel& out_;
  format::Config& c_;
  TensorPicker pick_;
  Architecture architecture_{};
  uint32_t layers_ = 0;
};

}  // namespace

Result<ImportedModel> import_gguf(const std::string& path) {
  MINNOW_ASSIGN(const std::shared_ptr<GgufSource> source, GgufSource::open(path));
  const GgufReader& gguf = source->reader();
  ImportedModel out;
  MINNOW_TRY(Importer(gguf, *source, path, out).run());
  out.sources.push_back(source);
  if (gguf.has("tokenizer.ggml.model")) {
    MINNOW_ASSIGN(ImportedTokenizer tokenizer, import_tokenizer_gguf(gguf));
    out.bos_id = tokenizer.data.bos_id;
    if (tokenizer.data.eos_id >= 0) out.eos_ids.push_back(tokenizer.data.eos_id);
    out.tokenizer = std::move(tokenizer.data);
    out.warnings.insert(out.warnings.end(), tokenizer.warnings.begin(), tokenizer.warnings.end());
  } else {
    out.warnings.push_back(cat("'", path, "' carries no tokenizer: the model will take token ids only"));
  }
  for (const auto& [key, slot] :
       {std::pair{"general.name", &out.provenance.source}, {"general.license", &out.provenance.license}}) {
    if (!gguf.has(key)) continue;
    MINNOW_ASSIGN(const std::string_view value, gguf.string(key));
    *slot = std::string(value);
  }
  return out;
}

}  // namespace minnow::compress
