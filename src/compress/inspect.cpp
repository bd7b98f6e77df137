#include "compress/inspect.h"

#include "base/cpu.h"
#include "base/file.h"
#include "format/container.h"
#include "format/tokenizer_view.h"
#include "format/verify.h"
#include "model/plan.h"

namespace minnow::compress {
namespace {

using format::Metadata;

Json describe(const format::Config& c) {
  constexpr const char* kNorm[] = {"rms", "layer"};
  constexpr const char* kPlacement[] = {"pre", "post_branch", "sandwich", "post_residual"};
  constexpr const char* kQk[] = {"none", "per_head", "full"};
  constexpr const char* kActivation[] = {"silu", "gelu_tanh", "gelu_erf", "relu"};
  return {{"architecture", c.architecture},
          {"vocab_size", c.vocab_size},
          {"hidden_size", c.hidden_size},
          {"head_count", c.head_count},
          {"kv_head_count", c.kv_head_count},
          {"head_dim", c.head_dim},
          {"ffn_size", c.ffn_size},
          {"max_context", c.max_context},
          {"rotary_dim", c.rotary_dim},
          {"norm", kNorm[size_t(c.norm)]},
          {"norm_placement", kPlacement[size_t(c.norm_placement)]},
          {"norm_eps", c.norm_eps},
          {"qk_norm", kQk[size_t(c.qk_norm)]},
          {"activation", kActivation[size_t(c.activation)]},
          {"ffn", c.ffn == format::FfnKind::gated ? "gated" : "plain"},
          {"block", c.block == format::BlockKind::parallel ? "parallel" : "sequential"},
          {"position", c.position == format::PositionKind::rope ? "rope" : "learned"},
          {"attention_softcap", c.attention_softcap},
          {"logits_softcap", c.logits_softcap}};
}

Json describe(const format::Linear& l, const model::LinearWeights& w) {
  Json slabs = Json::array();
  for (const format::Slab& s : l.slabs) {
    slabs.push_back({{"type", format::name_of(s.code)},
                     {"bits", format::bits_of(s.code)},
                     {"group", s.group},
                     {"first_channel", s.first_channel},
                     {"channels", s.count},
                     {"levels", s.levels.size()}});
  }
  const double bits = static_cast<double>(w.bytes()) * 8.0 / static_cast<double>(w.weight_count());
  return {{"name", l.name},
          {"rows", l.rows},
          {"cols", l.cols},
          {"layout", format::name_of(l.layout)},
          {"bytes", w.bytes()},
          {"bits_per_weight", bits},
          {"bias", l.bias.present()},
          {"thresholds", l.thresholds.present()},
          {"input_order", l.input_order >= 0},
          {"slabs", slabs}};
}

/// Norms, biases, learned positions and the like: everything that is not a linear.
Json small_tensors(const Metadata& m) {
  Json out = Json::array();
  const auto add = [&](const std::string& name, const format::TensorRef& t) {
    if (t.present()) {
      out.push_back({{"name", name}, {"count", t.count}, {"bytes", t.count * format::size_of(t.dtype)}});
    }
  };
  const auto norm = [&](const std::string& name, const format::Norm& n) {
    add(name + ".weight", n.weight);
    add(name + ".bias", n.bias);
  };
  for (size_t i = 0; i < m.layers.size(); ++i) {
    const format::Layer& l = m.layers[i];
    const std::string p = cat("layers.", i, ".");
    norm(p + "attn_norm", l.attn_norm);
    norm(p + "attn_post_norm", l.attn_post_norm);
    norm(p + "ffn_norm", l.ffn_norm);
    norm(p + "ffn_post_norm", l.ffn_post_norm);
    norm(p + "q_norm", l.q_norm);
    norm(p + "k_norm", l.k_norm);
    add(p + "gate_thresholds", l.gate_thresholds);
  }
  norm("final_norm", m.final_norm);
  add("positions", m.positions);
  for (const format::Linear& l : m.linears) {
    add(l.name + ".bias", l.bias);
    add(l.name + ".input_centre", l.input_centre);
    add(l.name + ".thresholds", l.thresholds);
  }
  return out;
}

}  // namespace

Result<Json> inspect_file(const std::string& path, bool verify) {
  MINNOW_ASSIGN(MappedFile file, MappedFile::open(path));
  auto opened = format::Container::open(std::move(file));
  if (!opened.ok()) return std::move(opened).status().within(path);
  const format::Container& c = *opened;
  auto weights = model::Weights::create(c);
  if (!weights.ok()) return std::move(weights).status().within(path);
  if (verify) {
    Status status = format::verify_payload(c);
    if (!status.ok()) return std::move(status).within(path);
  }
  const Metadata& m = c.metadata();
  Json out;
  out["file_bytes"] = c.file_size();
  out["metadata_bytes"] = c.metadata_size();
  out["schema_version"] = format::kSchemaVersion;
  out["parameters"] = m.parameters;
  out["bits_per_parameter"] =
      m.parameters == 0 ? 0.0 : static_cast<double>(c.file_size()) * 8.0 / static_cast<double>(m.parameters);
  out["bytes_per_token"] = model::bytes_per_token(*weights);
  out["config"] = describe(m.config);
  out["layers"] = m.layers.size();
  out["linears"] = Json::array();
  for (size_t i = 0; i < m.linears.size(); ++i)
    out["linears"].push_back(describe(m.linears[i], weights->linears[i]));
  out["tensors"] = small_tensors(m);
  out["codebooks"] = m.codebooks.size();
  out["provenance"] = {{"source", m.provenance.source},
                       {"license", m.provenance.license},
                       {"tool", m.provenance.tool},
                       {"settings", m.provenance.settings}};
  if (const auto bytes = c.tokenizer(); !bytes.empty()) {
    MINNOW_ASSIGN(const format::TokenizerView view, format::TokenizerView::open(bytes));
    out["tokenizer"] = {{"tokens", view.size()},
                        {"bytes", bytes.size()},
                        {"kind", view.kind == format::TokenizerKind::bpe_ranks ? "bpe" : "spm"},
                        {"chat_format", std::string(view.chat.name)}};
  }
  MINNOW_ASSIGN(const uint32_t isa, choose_isa(""));
  const model::KernelSet k = model::select_kernels(isa);
  out["machine"] = {{"cpu", cpu_name()}, {"isa", isa_name(isa)}, {"threads", default_thread_count()}};
  out["kernels"] = {k.linear_f32->name, k.linear_f16->name,    k.linear_bf16->name,  k.gemv_panel->name,
                    k.gemv_row->name,   k.gemv_channel->name,  k.expand->name,       k.gemm->name,
                    k.quantize->name,   k.attention_f16->name, k.attention_q8->name, k.rms_norm->name,
                    k.rope->name,       k.activation->name};
  out["verified"] = verify;
  return out;
}

}  // namespace minnow::compress
