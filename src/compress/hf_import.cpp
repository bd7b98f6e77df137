// Hugging Face directories: which tensor goes where.
#include <sys/stat.h>

#include "base/file.h"
#include "compress/hf_config.h"
#include "compress/imported_model.h"
#include "compress/safetensors.h"
#include "compress/tensor_picker.h"
#include "compress/tokenizer_json.h"

namespace minnow::compress {
namespace {

class Assembler {
 public:
  Assembler(const HfConfig& hf, TensorPicker& pick, ImportedModel& out)
      : hf_(hf), c_(hf.config), pick_(pick), out_(out) {}

  Status run() {
    root_ = hf_.family == Family::opt ? "model.decoder." : "model.";
    if (!pick_.has(root_ + "embed_tokens.weight")) {  // saved from the bare model, without its head
      const std::string bare = hf_.family == Family::opt ? "decoder." : "";
      if (pick_.has(bare + "embed_tokens.weight")) root_ = bare;
    }
    out_.layers.resize(hf_.layers);
    for (uint32_t i = 0; i < hf_.layers; ++i) {
      ImportedLayer& l = out_.layers[i];
      l.sliding_window = hf_.sliding_window[i];
      l.rope = hf_.rope[i];
      const std::string p = cat(root_, "layers.", i, ".");
      pick_.ignore(p + "self_attn.rotary_emb.inv_freq");  // old checkpoints carry what the config says
      MINNOW_TRY(norms(l, p));
      MINNOW_TRY(attention(l, p + "self_attn."));
      MINNOW_TRY(ffn(l, hf_.family == Family::opt ? p : p + "mlp."));
    }
    return ends();
  }

  static Bias bias_if(bool there) { return there ? Bias::required : Bias::none; }

 private:
  Status norms(ImportedLayer& l, const std::string& p) {
    const uint32_t n = c_.hidden_size;
    const Bias none = Bias::none, both = Bias::required;  // RMS norms have no bias, layer norms do
    switch (hf_.family) {
      case Family::opt:
        MINNOW_TRY(pick_.norm(l.attn_norm, p + "self_attn_layer_norm", n, both));
        return pick_.norm(l.ffn_norm, p + "final_layer_norm", n, both);
      case Family::phi:
        return pick_.norm(l.attn_norm, p + "input_layernorm", n, both);
      case Family::gemma2:
      case Family::gemma3:
        MINNOW_TRY(pick_.norm(l.attn_norm, p + "input_layernorm", n, none, 1.0f));
        MINNOW_TRY(pick_.norm(l.attn_post_norm, p + "post_attention_layernorm", n, none, 1.0f));
        MINNOW_TRY(pick_.norm(l.ffn_norm, p + "pre_feedforward_layernorm", n, none, 1.0f));
        return pick_.norm(l.ffn_post_norm, p + "post_feedforward_layernorm", n, none, 1.0f);
      case Family::olmo2:
        MINNOW_TRY(pick_.norm(l.attn_post_norm, p + "post_attention_layernorm", n, none));
        return pick_.norm(l.ffn_post_norm, p + "post_feedforward_layernorm", n, none);
      case Family::llama:
      case Family::phi3:
        MINNOW_TRY(pick_.norm(l.attn_norm, p + "input_layernorm", n, none));
        return pick_.norm(l.ffn_norm, p + "post_attention_layernorm", n, none);
    }
    return {};
  }

  Status attention(ImportedLayer& l, const std::string& p) {
    const uint32_t q = c_.q_size(), kv = c_.kv_size(), n = c_.hidden_size;
    const Bias qkv = bias_if(hf_.bias_qkv);
    if (hf_.family == Family::phi3) {
      const std::string fused = p + "qkv_proj";
      MINNOW_TRY(pick_.fused(l.q, fused, p + "q_proj", q, n, 0, q + 2 * kv, qkv));
      MINNOW_TRY(pick_.fused(l.k, fused, p + "k_proj", kv, n, q, q + 2 * kv, qkv));
      MINNOW_TRY(pick_.fused(l.v, fused, p + "v_proj", kv, n, q + kv, q + 2 * kv, qkv));
    } else {
      MINNOW_TRY(pick_.linear(l.q, p + "q_proj", q, n, qkv));
      MINNOW_TRY(pick_.linear(l.k, p + "k_proj", kv, n, qkv));
      MINNOW_TRY(pick_.linear(l.v, p + "v_proj", kv, n, qkv));
    }
    const char* out = hf_.family == Family::phi ? "dense" : hf_.family == Family::opt ? "out_proj" : "o_proj";
    MINNOW_TRY(pick_.linear(l.o, p + out, n, q, bias_if(hf_.bias_o)));
    if (c_.qk_norm == format::QkNorm::none) return {};
    const bool full = c_.qk_norm == format::QkNorm::full;
    const float offset = hf_.family == Family::gemma3 ? 1.0f : 0.0f;
    MINNOW_TRY(pick_.norm(l.q_norm, p + "q_norm", full ? q : c_.head_dim, Bias::none, offset));
    return pick_.norm(l.k_norm, p + "k_norm", full ? kv : c_.head_dim, Bias::none, offset);
  }

  Status ffn(ImportedLayer& l, const std::string& p) {
    const uint32_t f = c_.ffn_size, n = c_.hidden_size;
    const Bias bias = bias_if(hf_.bias_mlp);
    switch (hf_.family) {
      case Family::phi:
      case Family::opt:
        MINNOW_TRY(pick_.linear(l.up, p + "fc1", f, n, bias));
        return pick_.linear(l.down, p + "fc2", n, f, bias);
      case Family::phi3:
        MINNOW_TRY(pick_.fused(l.gate, p + "gate_up_proj", p + "gate_proj", f, n, 0, 2 * f, bias));
        MINNOW_TRY(pick_.fused(l.up, p + "gate_up_proj", p + "up_proj", f, n, f, 2 * f, bias));
        return pick_.linear(l.down, p + "down_proj", n, f, bias);
      default:
        MINNOW_TRY(pick_.linear(l.gate, p + "gate_proj", f, n, bias));
        MINNOW_TRY(pick_.linear(l.up, p + "up_proj", f, n, bias));
        return pick_.linear(l.down, p + "down_proj", n, f, bias);
    }
  }

  Status ends() {
    const uint32_t n = c_.hidden_size, e = c_.embedding_size;
    MINNOW_TRY(pick_.linear(out_.embedding, root_ + "embed_tokens", c_.vocab_size, e, Bias::none));
    const bool has_head = pick_.has("lm_head.weight");
    if (has_head && !(hf_.tied_said && hf_.tied)) {
      MINNOW_TRY(pick_.linear(out_.head, "lm_head", c_.vocab_size, e, bias_if(hf_.family == Family::phi)));
    } else if (!has_head && hf_.tied_said && !hf_.tied) {
      return fail(Code::not_found,
                  "tensor 'lm_head.weight' is missing, and the config says that the head is not tied");
    } else {
      pick_.ignore("lm_head.weight");  // a copy of the embedding
    }
    if (e != n) {
      MINNOW_TRY(pick_.linear(out_.embedding_in, root_ + "project_in", n, e, Bias::none));
      MINNOW_TRY(pick_.linear(out_.embedding_out, root_ + "project_out", e, n, Bias::none));
    }
    if (c_.position == format::PositionKind::learned) {
      // OPT counts positions from 2; the first two rows are for padding and never used.
      std::vector<float> all;
      MINNOW_TRY(pick_.table(all, root_ + "embed_positions.weight", uint64_t{c_.max_context} + 2, n));
      out_.positions.assign(all.begin() + 2 * static_cast<std::ptrdiff_t>(n), all.end());
    }
    switch (hf_.family) {
      case Family::opt:
        if (c_.norm_placement == format::NormPlacement::post_residual) return {};
        return pick_.norm(out_.final_norm, root_ + "final_layer_norm", n, Bias::required);
      case Family::phi:
        return pick_.norm(out_.final_norm, root_ + "final_layernorm", n, Bias::required);
      case Family::gemma2:
      case Family::gemma3:
        return pick_.norm(out_.final_norm, root_ + "norm", n, Bias::none, 1.0f);
      default:
        return pick_.norm(out_.final_norm, root_ + "norm", n, Bias::none);
    }
  }

  const HfConfig& hf_;
  const format::Config& c_;
  TensorPicker& pick_;
  ImportedModel& out_;
  std::string root_;
};

Status add_tokenizer(const std::string& directory, ImportedModel& out) {
  if (!file_exists(directory + "/tokenizer.json")) {
    out.warnings.push_back(
        cat("'", directory, "' has no tokenizer.json: the model will take token ids only"));
    return {};
  }
  MINNOW_ASSIGN(ImportedTokenizer tokenizer, import_tokenizer_json(directory));
  out.tokenizer = std::move(tokenizer.data);
  out.warnings.insert(out.warnings.end(), tokenizer.warnings.begin(), tokenizer.warnings.end());
  return {};
}

}  // namespace

Result<ImportedModel> import_huggingface(const std::string& directory) {
  constexpr uint64_t kJsonLimit = 64u << 20;
  MINNOW_ASSIGN(const Json json, read_json(directory + "/config.json", kJsonLimit));
  const JsonObject object(json, directory + "/config.json");
  MINNOW_ASSIGN(HfConfig hf, read_hf_config(object));
  ImportedModel out;
  MINNOW_ASSIGN(std::unique_ptr<TensorSource> source, open_safetensors(directory));
  TensorPicker pick(*source, cat("'", directory, "'"));
  MINNOW_TRY(Assembler(hf, pick, out).run());
  MINNOW_TRY(pick.finish());
  out.parameters = pick.elements();
  out.sources.push_back(std::move(source));
  out.config = std::move(hf.config);
  out.bos_id = hf.bos_id;
  out.eos_ids = std::move(hf.eos_ids);
  if (const std::string path = directory + "/generation_config.json"; file_exists(path)) {
    MINNOW_ASSIGN(const Json generation, read_json(path, kJsonLimit));
    MINNOW_ASSIGN(auto eos, read_token_ids(JsonObject(generation, path), "eos_token_id"));
    if (!eos.empty()) out.eos_ids = std::move(eos);
  }
  MINNOW_TRY(add_tokenizer(directory, out));
  MINNOW_ASSIGN(out.provenance.source, object.text("_name_or_path", ""));
  if (out.provenance.source.empty()) {
    std::string name = directory;
    while (name.size() > 1 && name.back() == '/') name.pop_back();
    out.provenance.source = name.substr(name.find_last_of('/') + 1);
  }
  MINNOW_ASSIGN(out.provenance.license, object.text("license", ""));
  return out;
}

Result<ImportedModel> import_model(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) {
    return fail(Code::not_found, "cannot find '", path, "'; give a Hugging Face directory or a GGUF file");
  }
  auto imported = S_ISDIR(st.st_mode) ? import_huggingface(path) : import_gguf(path);
  if (!imported.ok()) return imported;
  ImportedModel& m = *imported;
  const auto outside = [&](int32_t id) { return id < 0 || uint32_t(id) >= m.config.vocab_size; };
  if (m.bos_id != -1 && outside(m.bos_id)) {
    m.warnings.push_back(cat("the BOS token ", m.bos_id, " is not in the vocabulary and is left out"));
    m.bos_id = -1;
  }
  std::erase_if(m.eos_ids, [&](int32_t id) {
    if (!outside(id)) return false;
    m.warnings.push_back(cat("the end token ", id, " is not in the vocabulary and is left out"));
    return true;
  });
  return imported;
}

}  // namespace minnow::compress
