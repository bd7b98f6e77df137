#include "compress/hf_config.h"

#include <cmath>
#include <string_view>

#include "compress/rope_scaling.h"

namespace minnow::compress {
namespace {

using format::Activation;
using format::Config;

/// Names, and what the family's own configuration class assumes of keys that are absent.
struct Architecture {
  const char* class_name;
  const char* model_type;
  double rope_theta;
  uint32_t sliding_window;  ///< 0: none
  uint32_t head_dim;        ///< 0: hidden_size / heads
  Family family;
  bool kv_heads_from_heads;  ///< else num_key_value_heads must be said
};

constexpr Architecture kArchitectures[] = {
    {"LlamaForCausalLM", "llama", 1e4, 0, 0, Family::llama, true},
    {"MistralForCausalLM", "mistral", 1e4, 4096, 0, Family::llama, false},
    {"Qwen2ForCausalLM", "qwen2", 1e4, 4096, 0, Family::llama, false},
    {"Qwen3ForCausalLM", "qwen3", 1e4, 4096, 128, Family::llama, false},
    {"SmolLM3ForCausalLM", "smollm3", 2e6, 0, 0, Family::llama, false},
    {"GraniteForCausalLM", "granite", 1e4, 0, 0, Family::llama, true},
    {"Phi3ForCausalLM", "phi3", 1e4, 0, 0, Family::phi3, true},
    {"PhiForCausalLM", "phi", 1e4, 0, 0, Family::phi, true},
    {"OPTForCausalLM", "opt", 1e4, 0, 0, Family::opt, true},
    {"Gemma2ForCausalLM", "gemma2", 1e4, 4096, 256, Family::gemma2, false},
    {"Gemma3ForCausalLM", "gemma3_text", 1e6, 4096, 256, Family::gemma3, false},
    {"Olmo2ForCausalLM", "olmo2", 1e4, 0, 0, Family::olmo2, true},
};

Result<const Architecture*> find_architecture(const JsonObject& j) {
  std::string name;
  if (j.has("architectures") && j.raw("architectures").is_array() && j.raw("architectures").size() == 1 &&
      j.raw("architectures")[0].is_string()) {
    name = j.raw("architectures")[0].get<std::string>();
  }
  MINNOW_ASSIGN(const std::string type, j.text("model_type", ""));
  std::string known;
  for (const Architecture& a : kArchitectures) {
    if (name == a.class_name && !type.empty() && type != a.model_type) {
      return fail(Code::corrupt, "'", j.name(), "': the architecture '", name,
                  "' contradicts the model type '", type, "'");
    }
    if (name == a.class_name || (name.empty() && type == a.model_type)) return &a;
    known += cat(known.empty() ? "" : ", ", a.class_name);
  }
  return fail(Code::unsupported, "'", j.name(), "': the architecture '", name.empty() ? type : name,
              "' is not known; minnow knows ", known);
}

Result<Activation> read_activation(const JsonObject& j, const char* key) {
  MINNOW_ASSIGN(const std::string name, j.text(key));
  if (name == "silu" || name == "swish") return Activation::silu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new" || name == "gelu_fast") return Activation::gelu_tanh;
  if (name == "gelu") return Activation::gelu_erf;
  if (name == "relu") return Activation::relu;
  return fail(Code::unsupported, "'", j.name(), "': the activation '", name, "' is not known");
}

/// Keys that would change the mathematics in ways minnow does not follow.
Status refuse_unsupported(const JsonObject& j) {
  if (j.has("quantization_config")) {
    return fail(Code::unsupported, "'", j.name(),
                "' describes a model that is already quantised; give the original");
  }
  for (const char* key : {"qk_layernorm", "use_bidirectional_attention", "use_qk_norm", "rope_interleaved"}) {
    MINNOW_ASSIGN(const bool on, j.boolean(key, false));
    if (on) return fail(Code::unsupported, "'", j.name(), "' sets '", key, "', which minnow does not know");
  }
  if (j.has("_remove_final_layer_norm") && j.raw("_remove_final_layer_norm") == true) {
    return fail(Code::unsupported, "'", j.name(), "' removes the final norm, which minnow does not know");
  }
  return {};
}

class Reader {
 public:
  Reader(const JsonObject& j, const Architecture& family, HfConfig& out)
      : j_(j), family_(family), out_(out), c_(out.config) {}

  Status sizes() {
    MINNOW_ASSIGN(c_.vocab_size, j_.uint("vocab_size"));
    MINNOW_ASSIGN(c_.hidden_size, j_.uint("hidden_size"));
    MINNOW_ASSIGN(out_.layers, j_.uint("num_hidden_layers"));
    MINNOW_ASSIGN(c_.head_count, j_.uint("num_attention_heads"));
    if (family_.kv_heads_from_heads) {
      MINNOW_ASSIGN(c_.kv_head_count, j_.uint("num_key_value_heads", c_.head_count));
    } else {
      MINNOW_ASSIGN(c_.kv_head_count, j_.uint("num_key_value_heads"));
    }
    MINNOW_ASSIGN(c_.max_context, j_.uint("max_position_embeddings"));
    const bool opt = out_.family == Family::opt;
    MINNOW_ASSIGN(c_.ffn_size, j_.uint(opt ? "ffn_dim" : "intermediate_size"));
    MINNOW_ASSIGN(c_.embedding_size, opt ? j_.uint("word_embed_proj_dim", c_.hidden_size) : c_.hidden_size);
    if (c_.head_count > 4096 || c_.hidden_size > (1u << 17) || c_.ffn_size > (1u << 20) ||
        c_.vocab_size > (1u << 24)) {
      return fail(Code::corrupt, "'", j_.name(), "' claims ", c_.head_count, " heads, a hidden size of ",
                  c_.hidden_size, ", an FFN of ", c_.ffn_size, " and a vocabulary of ", c_.vocab_size,
                  ", beyond what minnow reads");
    }
    if (out_.layers == 0 || out_.layers > 4096) {
      return fail(Code::corrupt, "'", j_.name(), "': num_hidden_layers is ", out_.layers,
                  "; 1 to 4096 were expected");
    }
    if (c_.head_count == 0 || c_.kv_head_count == 0) {
      return fail(Code::corrupt, "'", j_.name(), "': the number of attention heads is 0");
    }
    const bool derived = family_.head_dim == 0 || j_.said("head_dim");  // null: derived
    MINNOW_ASSIGN(c_.head_dim,
                  j_.uint("head_dim", derived ? c_.hidden_size / c_.head_count : family_.head_dim));
    if (c_.head_dim == 0 || c_.head_dim > 4096 || c_.kv_head_count > c_.head_count) {
      return fail(Code::corrupt, "'", j_.name(), "' claims heads of ", c_.head_dim, " dimensions and ",
                  c_.kv_head_count, " KV heads for ", c_.head_count, " heads");
    }
    c_.attention_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c_.head_dim)));
    out_.sliding_window.assign(out_.layers, 0);
    out_.rope.assign(out_.layers, 0);
    return {};
  }

  Status norms() {
    const bool layer_norm = out_.family == Family::phi || out_.family == Family::opt;
    c_.norm = layer_norm ? format::NormKind::layer : format::NormKind::rms;
    double eps = 1e-5;  // OPT's is fixed
    if (out_.family != Family::opt) {
      MINNOW_ASSIGN(eps, j_.number(layer_norm ? "layer_norm_eps" : "rms_norm_eps"));
    }
    c_.norm_eps = static_cast<float>(eps);
    switch (out_.family) {
      case Family::gemma2:
      case Family::gemma3:
        c_.norm_placement = format::NormPlacement::sandwich;
        break;
      case Family::olmo2:
        c_.norm_placement = format::NormPlacement::post_branch;
        break;
      case Family::opt: {
        MINNOW_ASSIGN(const bool before, j_.boolean("do_layer_norm_before", true));
        MINNOW_ASSIGN(const bool affine, j_.boolean("layer_norm_elementwise_affine", true));
        if (!affine)
          return fail(Code::unsupported, "'", j_.name(),
                      "' has norms without weights, which minnow does not know");
        c_.norm_placement = before ? format::NormPlacement::pre : format::NormPlacement::post_residual;
        break;
      }
      default:
        c_.norm_placement = format::NormPlacement::pre;
    }
    if (out_.family == Family::gemma3 || c_.architecture == "qwen3") c_.qk_norm = format::QkNorm::per_head;
    if (out_.family == Family::olmo2) c_.qk_norm = format::QkNorm::full;
    return {};
  }

  Status ffn() {
    const bool gemma = out_.family == Family::gemma2 || out_.family == Family::gemma3;
    const char* key = out_.family == Family::opt ? "activation_function"
                      : gemma                    ? "hidden_activation"
                                                 : "hidden_act";
    if (gemma && !j_.has(key)) {
      c_.activation = Activation::gelu_tanh;  // what the family's code takes when the key is absent
    } else {
      MINNOW_ASSIGN(c_.activation, read_activation(j_, key));
    }
    const bool plain = out_.family == Family::phi || out_.family == Family::opt;
    c_.ffn = plain ? format::FfnKind::plain : format::FfnKind::gated;
    c_.block = out_.family == Family::phi ? format::BlockKind::parallel : format::BlockKind::sequential;
    return {};
  }

  Status scales() {
    const bool gemma = out_.family == Family::gemma2 || out_.family == Family::gemma3;
    if (gemma) {
      c_.embedding_scale = std::sqrt(static_cast<float>(c_.hidden_size));
      MINNOW_ASSIGN(const double scalar, j_.number("query_pre_attn_scalar"));
      if (!(scalar > 0)) return fail(Code::corrupt, "'", j_.name(), "': query_pre_attn_scalar is ", scalar);
      c_.attention_scale = static_cast<float>(1.0 / std::sqrt(scalar));
      // Gemma 2 caps unless told not to (null), Gemma 3 does not unless told to.
      const bool caps = out_.family == Family::gemma2;
      MINNOW_ASSIGN(
          const double attention,
          j_.number("attn_logit_softcapping", caps && !j_.said("attn_logit_softcapping") ? 50.0 : 0.0));
      MINNOW_ASSIGN(const double logits, j_.number("final_logit_softcapping",
                                                   caps && !j_.said("final_logit_softcapping") ? 30.0 : 0.0));
      c_.attention_softcap = static_cast<float>(attention);
      c_.logits_softcap = static_cast<float>(logits);
    }
    if (c_.architecture == "granite") {
      MINNOW_ASSIGN(const double embedding, j_.number("embedding_multiplier", 1.0));
      MINNOW_ASSIGN(const double residual, j_.number("residual_multiplier", 1.0));
      MINNOW_ASSIGN(const double attention, j_.number("attention_multiplier", 1.0));
      MINNOW_ASSIGN(const double logits, j_.number("logits_scaling", 1.0));
      if (!(logits > 0)) return fail(Code::corrupt, "'", j_.name(), "': logits_scaling is ", logits);
      c_.embedding_scale = static_cast<float>(embedding);
      c_.residual_scale = static_cast<float>(residual);
      c_.attention_scale = static_cast<float>(attention);
      c_.logits_scale = static_cast<float>(1.0 / logits);
    }
    return {};
  }

  Status windows() {
    const bool qwen = c_.architecture == "qwen2" || c_.architecture == "qwen3";
    const bool smollm3 = c_.architecture == "smollm3";
    if (qwen || smollm3) {  // these three have a window only when told to use it
      MINNOW_ASSIGN(const bool used, j_.boolean("use_sliding_window", false));
      if (!used) return {};
    }
    MINNOW_ASSIGN(const uint32_t window,
                  j_.uint("sliding_window", j_.said("sliding_window") ? 0 : family_.sliding_window));
    if (window == 0) {
      if (j_.has("sliding_window")) return fail(Code::corrupt, "'", j_.name(), "': sliding_window is 0");
      return {};
    }
    if (j_.has("layer_types")) return windows_by_type(window);
    // The older form says it by the family's habit.
    uint32_t pattern = 0, first = 0;
    if (out_.family == Family::gemma2) pattern = 2;
    if (out_.family == Family::gemma3) {
      MINNOW_ASSIGN(pattern, j_.uint("sliding_window_pattern", 6));
      MINNOW_ASSIGN(pattern, j_.uint("_sliding_window_pattern", pattern));
    }
    if (qwen) {
      MINNOW_ASSIGN(first, j_.uint("max_window_layers", 28));
    }
    for (uint32_t i = first; i < out_.layers; ++i) {
      // SmolLM3: the layers that do not rotate.
      const bool has = smollm3 ? out_.rope[i] < 0 : pattern == 0 || (i + 1) % pattern != 0;
      if (has) out_.sliding_window[i] = window;
    }
    return {};
  }

  Status biases() {
    const std::string& a = c_.architecture;
    if (out_.family == Family::phi) {
      out_.bias_qkv = out_.bias_o = out_.bias_mlp = true;
    } else if (out_.family == Family::opt) {
      MINNOW_ASSIGN(out_.bias_qkv, j_.boolean("enable_bias", true));
      out_.bias_o = out_.bias_mlp = out_.bias_qkv;
    } else if (a == "qwen2") {
      out_.bias_qkv = true;
    } else if (a != "mistral" && a != "phi3") {
      MINNOW_ASSIGN(out_.bias_qkv, j_.boolean("attention_bias", false));
      out_.bias_o = out_.bias_qkv;
      if (a == "llama" || a == "smollm3" || a == "granite") {
        MINNOW_ASSIGN(out_.bias_mlp, j_.boolean("mlp_bias", false));
      }
    }
    return {};
  }

  Status positions() {
    if (out_.family == Family::opt) {
      c_.position = format::PositionKind::learned;
      out_.rope.assign(out_.layers, -1);
      return {};
    }
    const bool newer = j_.has("rope_parameters");
    MINNOW_ASSIGN(double partial, j_.number("partial_rotary_factor", out_.family == Family::phi ? 0.5 : 1.0));
    const JsonObject nested =
        newer ? JsonObject(j_.raw("rope_parameters"), j_.name() + ".rope_parameters") : j_;
    if (newer && nested.has("partial_rotary_factor")) {
      MINNOW_ASSIGN(partial, nested.number("partial_rotary_factor"));
    }
    const double rotary = partial * c_.head_dim;
    if (!(rotary >= 2.0) || rotary > c_.head_dim) {
      return fail(Code::corrupt, "'", j_.name(), "': partial_rotary_factor is ", partial);
    }
    c_.rotary_dim = static_cast<uint32_t>(rotary);
    if (c_.rotary_dim % 2 != 0) {
      return fail(Code::unsupported, "'", j_.name(), "': partial_rotary_factor ", partial, " rotates ",
                  c_.rotary_dim, " of ", c_.head_dim, " dimensions, an odd number");
    }
    RopeInput in{10000.0, c_.rotary_dim, c_.max_context, 0};
    MINNOW_ASSIGN(in.original_context, j_.uint("original_max_position_embeddings", 0));
    return newer ? new_ropes(in, nested) : old_ropes(in);
  }

  /// SmolLM3: "no_rope_layers" holds 1 where a layer rotates.
  Status layers_without_rope() {
    if (c_.architecture != "smollm3") return {};
    if (j_.has("no_rope_layers")) {
      const Json& list = j_.raw("no_rope_layers");
      if (!list.is_array() || list.size() != out_.layers) {
        return fail(Code::corrupt, "'", j_.name(), "': 'no_rope_layers' does not have ", out_.layers,
                    " entries");
      }
      for (uint32_t i = 0; i < out_.layers; ++i) {
        if (list[i] != 0 && list[i] != 1) {
          return fail(Code::corrupt, "'", j_.name(), "': 'no_rope_layers' holds ", list[i].dump(),
                      ", expected 0 or 1");
        }
        out_.rope[i] = list[i] == 0 ? -1 : 0;
      }
      return {};
    }
    MINNOW_ASSIGN(const uint32_t interval, j_.uint("no_rope_layer_interval", 4));
    for (uint32_t i = 0; i < out_.layers && interval != 0; ++i) {
      if ((i + 1) % interval == 0) out_.rope[i] = -1;
    }
    return {};
  }

  Status tokens() {
    if (j_.has("tie_word_embeddings")) {
      out_.tied_said = true;
      MINNOW_ASSIGN(out_.tied, j_.boolean("tie_word_embeddings", false));
    }
    MINNOW_ASSIGN(const auto bos, read_token_ids(j_, "bos_token_id"));
    if (!bos.empty()) out_.bos_id = bos.front();
    MINNOW_ASSIGN(out_.eos_ids, read_token_ids(j_, "eos_token_id"));
    return {};
  }

 private:
  Status add_rope(RopeInput in, const JsonObject* scaling, double theta) {
    in.theta = theta;
    MINNOW_ASSIGN(format::Rope rope, make_rope(in, scaling));
    c_.ropes.push_back(std::move(rope));
    return {};
  }

  /// rope_parameters: one set, or one for each type of layer.
  Status new_ropes(const RopeInput& in, const JsonObject& p) {
    const char* kinds[] = {"full_attention", "sliding_attention"};
    if (!p.has(kinds[0]) && !p.has(kinds[1])) {
      MINNOW_ASSIGN(const double theta, p.number("rope_theta"));
      return add_rope(in, &p, theta);
    }
    for (const char* kind : kinds) {
      MINNOW_ASSIGN(const JsonObject set, p.object(kind));
      MINNOW_ASSIGN(const double theta, set.number("rope_theta"));
      MINNOW_TRY(add_rope(in, &set, theta));
    }
    for (uint32_t i = 0; i < out_.layers; ++i) {
      if (out_.rope[i] >= 0) out_.rope[i] = out_.sliding_window[i] != 0 ? 1 : 0;
    }
    return {};
  }

  Status old_ropes(const RopeInput& in) {
    MINNOW_ASSIGN(const double theta, j_.number("rope_theta", family_.rope_theta));
    if (j_.has("rope_scaling")) {
      MINNOW_ASSIGN(const JsonObject scaling, j_.object("rope_scaling"));
      MINNOW_TRY(add_rope(in, &scaling, theta));
    } else {
      MINNOW_TRY(add_rope(in, nullptr, theta));
    }
    if (out_.family != Family::gemma3) return {};
    MINNOW_ASSIGN(const double local, j_.number("rope_local_base_freq", 10000.0));
    MINNOW_TRY(add_rope(in, nullptr, local));
    for (uint32_t i = 0; i < out_.layers; ++i) out_.rope[i] = out_.sliding_window[i] != 0 ? 1 : 0;
    return {};
  }

  Status windows_by_type(uint32_t window) {
    const Json& types = j_.raw("layer_types");
    if (!types.is_array() || types.size() != out_.layers) {
      return fail(Code::corrupt, "'", j_.name(), "': 'layer_types' does not have ", out_.layers, " entries");
    }
    for (uint32_t i = 0; i < out_.layers; ++i) {
      if (types[i] == "sliding_attention") {
        out_.sliding_window[i] = window;
      } else if (types[i] != "full_attention") {
        return fail(Code::unsupported, "'", j_.name(), "': layer ", i, " has the type ", types[i].dump(),
                    "; minnow knows full_attention and sliding_attention");
      }
    }
    return {};
  }

  const JsonObject& j_;
  const Architecture& family_;
  HfConfig& out_;
  Config& c_;
};

}  // namespace

Result<std::vector<int32_t>> read_token_ids(const JsonObject& json, const char* key) {
  std::vector<int32_t> ids;
  if (!json.has(key)) return ids;
  const Json& value = json.raw(key);
  const Json list = value.is_array() ? value : Json::array({value});
  for (const Json& v : list) {
    if (!v.is_number_unsigned() || v.get<uint64_t>() > 0x7fffffffu) {
      return fail(Code::corrupt, "'", json.name(), "': '", key, "' is ", value.dump(),
                  ", expected a token id or a list of them");
    }
    ids.push_back(v.get<int32_t>());
  }
  return ids;
}

Result<HfConfig> read_hf_config(const JsonObject& json) {
  HfConfig out;
  MINNOW_ASSIGN(const Architecture* architecture, find_architecture(json));
  out.family = architecture->family;
  out.config.architecture = architecture->model_type;
  MINNOW_TRY(refuse_unsupported(json));
  Reader reader(json, *architecture, out);
  MINNOW_TRY(reader.sizes());
  MINNOW_TRY(reader.norms());
  MINNOW_TRY(reader.ffn());
  MINNOW_TRY(reader.scales());
  MINNOW_TRY(reader.layers_without_rope());
  MINNOW_TRY(reader.windows());
  MINNOW_TRY(reader.biases());
  MINNOW_TRY(reader.positions());
  MINNOW_TRY(reader.tokens());
  return out;
}

}  // namespace minnow::compress
