#include "format/metadata_codec.h"

#include <cstring>

#include "model_generated.h"

namespace minnow::format {
namespace {

namespace fb = flatbuffers;

// The C++ enums mirror the schema's; a new value must be added to both.
static_assert(int(schema::DType::MAX) == int(DType::i32));
static_assert(int(schema::CodeType::MAX) == int(CodeType::u8));
static_assert(int(schema::Layout::MAX) == int(Layout::channel));
static_assert(int(schema::ScaleType::MAX) == int(ScaleType::u8));
static_assert(int(schema::ZeroType::MAX) == int(ZeroType::u4));
static_assert(int(schema::SegmentKind::MAX) == int(SegmentKind::codebook));
static_assert(int(schema::NormKind::MAX) == int(NormKind::layer));
static_assert(int(schema::NormPlacement::MAX) == int(NormPlacement::post_residual));
static_assert(int(schema::QkNorm::MAX) == int(QkNorm::full));
static_assert(int(schema::Activation::MAX) == int(Activation::relu));
static_assert(int(schema::FfnKind::MAX) == int(FfnKind::plain));
static_assert(int(schema::BlockKind::MAX) == int(BlockKind::parallel));
static_assert(int(schema::PositionKind::MAX) == int(PositionKind::learned));

// ---- encoding -----------------------------------------------------------------------------------

schema::TensorRef pack(const TensorRef& t) {
  return {t.segment, static_cast<schema::DType>(t.dtype), t.offset, t.count};
}

fb::Offset<schema::Norm> pack(fb::FlatBufferBuilder& b, const Norm& n) {
  if (!n.present()) return 0;
  const auto weight = pack(n.weight), bias = pack(n.bias);
  return schema::CreateNorm(b, &weight, n.bias.present() ? &bias : nullptr);
}

fb::Offset<schema::Slab> pack(fb::FlatBufferBuilder& b, const Slab& s) {
  const auto levels = s.levels.empty() ? 0 : b.CreateVector(s.levels);
  return schema::CreateSlab(b, static_cast<schema::CodeType>(s.code), s.group, s.first_channel, s.count,
                            s.base, s.row_stride, static_cast<schema::ScaleType>(s.scale_type), s.scale_base,
                            s.scale_stride, static_cast<schema::ZeroType>(s.zero_type), s.zero_base,
                            s.zero_stride, levels);
}

fb::Offset<schema::Linear> pack(fb::FlatBufferBuilder& b, const Linear& l) {
  std::vector<fb::Offset<schema::Slab>> slabs;
  for (const Slab& s : l.slabs) slabs.push_back(pack(b, s));
  const auto name = b.CreateString(l.name);
  const auto slab_vector = b.CreateVector(slabs);
  const auto bias = pack(l.bias), centre = pack(l.input_centre), thresholds = pack(l.thresholds);
  return schema::CreateLinear(b, name, l.rows, l.cols, static_cast<schema::Layout>(l.layout), l.segment,
                              l.input_order, slab_vector, l.bias.present() ? &bias : nullptr,
                              l.input_centre.present() ? &centre : nullptr,
                              l.thresholds.present() ? &thresholds : nullptr);
}

fb::Offset<schema::Layer> pack(fb::FlatBufferBuilder& b, const Layer& l) {
  const auto attn = pack(b, l.attn_norm), attn_post = pack(b, l.attn_post_norm), ffn = pack(b, l.ffn_norm),
             ffn_post = pack(b, l.ffn_post_norm), q = pack(b, l.q_norm), k = pack(b, l.k_norm);
  const auto thresholds = pack(l.gate_thresholds);
  return schema::CreateLayer(b, l.q, l.k, l.v, l.o, l.gate, l.up, l.down, attn, attn_post, ffn, ffn_post, q,
                             k, l.sliding_window, l.rope,
                             l.gate_thresholds.present() ? &thresholds : nullptr);
}

fb::Offset<schema::Config> pack(fb::FlatBufferBuilder& b, const Config& c) {
  std::vector<fb::Offset<schema::Rope>> ropes;
  for (const Rope& r : c.ropes) {
    const auto freq = b.CreateVector(r.inv_freq);
    const auto freq_long = r.inv_freq_long.empty() ? 0 : b.CreateVector(r.inv_freq_long);
    ropes.push_back(schema::CreateRope(b, freq, r.attention_factor, freq_long, r.original_context));
  }
  const auto architecture = b.CreateString(c.architecture);
  const auto rope_vector = b.CreateVector(ropes);
  schema::ConfigBuilder out(b);
  out.add_architecture(architecture);
  out.add_ropes(rope_vector);
  out.add_vocab_size(c.vocab_size);
  out.add_hidden_size(c.hidden_size);
  out.add_head_count(c.head_count);
  out.add_kv_head_count(c.kv_head_count);
  out.add_head_dim(c.head_dim);
  out.add_ffn_size(c.ffn_size);
  out.add_max_context(c.max_context);
  out.add_rotary_dim(c.rotary_dim);
  out.add_embedding_size(c.embedding_size);
  out.add_norm(static_cast<schema::NormKind>(c.norm));
  out.add_norm_placement(static_cast<schema::NormPlacement>(c.norm_placement));
  out.add_norm_eps(c.norm_eps);
  out.add_qk_norm(static_cast<schema::QkNorm>(c.qk_norm));
  out.add_activation(static_cast<schema::Activation>(c.activation));
  out.add_ffn(static_cast<schema::FfnKind>(c.ffn));
  out.add_block(static_cast<schema::BlockKind>(c.block));
  out.add_position(static_cast<schema::PositionKind>(c.position));
  out.add_embedding_scale(c.embedding_scale);
  out.add_residual_scale(c.residual_scale);
  out.add_logits_scale(c.logits_scale);
  out.add_attention_scale(c.attention_scale);
  out.add_attention_softcap(c.attention_softcap);
  out.add_logits_softcap(c.logits_softcap);
  return out.Finish();
}

fb::Offset<schema::Codebook> pack(fb::FlatBufferBuilder& b, const Codebook& c) {
  const auto centres = pack(b, c.centres);
  const auto whitening = pack(c.whitening), offset = pack(c.offset);
  return schema::CreateCodebook(b, c.layer, c.kv_head, centres, &whitening, &offset);
}

// ---- decoding -----------------------------------------------------------------------------------

/// Copies tables; the first bad enum or missing table is kept in `status`.
class Decoder {
 public:
  Status status;

  template <typename Mine, typename Theirs>
  Mine enum_of(Theirs value, const char* what) {
    if (value < Theirs::MIN || value > Theirs::MAX) {
      refuse(cat(what, " has the unknown value ", int(value), "; a newer minnow may know it"));
      return Mine{};
    }
    return static_cast<Mine>(value);
  }

  TensorRef tensor(const schema::TensorRef* t) {
    if (t == nullptr) return {};
    return {t->segment(), enum_of<DType>(t->dtype(), "a tensor's dtype"), t->offset(), t->count()};
  }

  Norm norm(const schema::Norm* n) {
    if (n == nullptr) return {};
    return {tensor(n->weight()), tensor(n->bias())};
  }

  static std::vector<float> floats(const fb::Vector<float>* v) {
    return v == nullptr ? std::vector<float>{} : std::vector<float>(v->begin(), v->end());
  }

  static std::string text(const fb::String* s) { return s == nullptr ? std::string{} : s->str(); }

  Slab slab(const schema::Slab& s) {
    Slab out;
    out.code = enum_of<CodeType>(s.code(), "a slab's code type");
    out.group = s.group();
    out.first_channel = s.first_channel();
    out.count = s.count();
    out.base = s.base();
    out.row_stride = s.row_stride();
    out.scale_type = enum_of<ScaleType>(s.scale_type(), "a slab's scale type");
    out.scale_base = s.scale_base();
    out.scale_stride = s.scale_stride();
    out.zero_type = enum_of<ZeroType>(s.zero_type(), "a slab's zero type");
    out.zero_base = s.zero_base();
    out.zero_stride = s.zero_stride();
    out.levels = floats(s.levels());
    return out;
  }

  Linear linear(const schema::Linear& l) {
    Linear out;
    out.name = text(l.name());
    out.rows = l.rows();
    out.cols = l.cols();
    out.layout = enum_of<Layout>(l.layout(), "a linear's layout");
    out.segment = l.segment();
    out.input_order = l.input_order();
    if (l.slabs() != nullptr) {
      for (const auto* s : *l.slabs()) out.slabs.push_back(slab(*s));
    }
    out.bias = tensor(l.bias());
    out.input_centre = tensor(l.input_centre());
    out.thresholds = tensor(l.thresholds());
    return out;
  }

  Layer layer(const schema::Layer& l) {
    Layer out;
    out.q = l.q(), out.k = l.k(), out.v = l.v(), out.o = l.o();
    out.gate = l.gate(), out.up = l.up(), out.down = l.down();
    out.attn_norm = norm(l.attn_norm()), out.attn_post_norm = norm(l.attn_post_norm());
    out.ffn_norm = norm(l.ffn_norm()), out.ffn_post_norm = norm(l.ffn_post_norm());
    out.q_norm = norm(l.q_norm()), out.k_norm = norm(l.k_norm());
    out.sliding_window = l.sliding_window();
    out.rope = l.rope();
    out.gate_thresholds = tensor(l.gate_thresholds());
    return out;
  }

  Config config(const schema::Config& c) {
    Config out;
    out.architecture = text(c.architecture());
    out.vocab_size = c.vocab_size(), out.hidden_size = c.hidden_size();
    out.head_count = c.head_count(), out.kv_head_count = c.kv_head_count(), out.head_dim = c.head_dim();
    out.ffn_size = c.ffn_size(), out.max_context = c.max_context(), out.rotary_dim = c.rotary_dim();
    out.embedding_size = c.embedding_size();
    out.norm = enum_of<NormKind>(c.norm(), "config.norm");
    out.norm_placement = enum_of<NormPlacement>(c.norm_placement(), "config.norm_placement");
    out.norm_eps = c.norm_eps();
    out.qk_norm = enum_of<QkNorm>(c.qk_norm(), "config.qk_norm");
    out.activation = enum_of<Activation>(c.activation(), "config.activation");
    out.ffn = enum_of<FfnKind>(c.ffn(), "config.ffn");
    out.block = enum_of<BlockKind>(c.block(), "config.block");
    out.position = enum_of<PositionKind>(c.position(), "config.position");
    out.embedding_scale = c.embedding_scale(), out.residual_scale = c.residual_scale();
    out.logits_scale = c.logits_scale(), out.attention_scale = c.attention_scale();
    out.attention_softcap = c.attention_softcap(), out.logits_softcap = c.logits_softcap();
    if (c.ropes() != nullptr) {
      for (const auto* r : *c.ropes()) {
        out.ropes.push_back({floats(r->inv_freq()), r->attention_factor(), floats(r->inv_freq_long()),
                             r->original_context()});
      }
    }
    return out;
  }

 private:
  void refuse(std::string message) {
    if (status.ok()) status = Status(Code::unsupported, std::move(message));
  }
};

/// The verifier checks the alignment of everything but the elements of vectors of structs.
template <typename T>
bool aligned(const fb::Vector<const T*>* v) {
  return v == nullptr || v->size() == 0 || reinterpret_cast<uintptr_t>(v->Data()) % alignof(T) == 0;
}

}  // namespace

std::vector<std::byte> encode_metadata(const Metadata& m) {
  fb::FlatBufferBuilder b(1 << 16);
  std::vector<schema::Segment> segments;
  for (const Segment& s : m.segments) {
    segments.emplace_back(s.offset, s.size, s.checksum, static_cast<schema::SegmentKind>(s.kind));
  }
  std::vector<fb::Offset<schema::Linear>> linears;
  for (const Linear& l : m.linears) linears.push_back(pack(b, l));
  std::vector<schema::TensorRef> orders;
  for (const TensorRef& t : m.input_orders) orders.push_back(pack(t));
  std::vector<fb::Offset<schema::Layer>> layers;
  for (const Layer& l : m.layers) layers.push_back(pack(b, l));
  std::vector<fb::Offset<schema::Codebook>> codebooks;
  for (const Codebook& c : m.codebooks) codebooks.push_back(pack(b, c));

  const auto config = pack(b, m.config);
  const auto segment_vector = b.CreateVectorOfStructs(segments);
  const auto linear_vector = b.CreateVector(linears);
  const auto order_vector = orders.empty() ? 0 : b.CreateVectorOfStructs(orders);
  const auto layer_vector = b.CreateVector(layers);
  const auto codebook_vector = codebooks.empty() ? 0 : b.CreateVector(codebooks);
  const auto final_norm = pack(b, m.final_norm);
  const auto eos = b.CreateVector(m.eos_ids);
  const auto source = b.CreateString(m.provenance.source), license = b.CreateString(m.provenance.license),
             tool = b.CreateString(m.provenance.tool), settings = b.CreateString(m.provenance.settings);
  const auto provenance = schema::CreateProvenance(b, source, license, tool, settings);
  const auto positions = pack(m.positions);

  schema::ModelBuilder out(b);
  out.add_config(config);
  out.add_segments(segment_vector);
  out.add_linears(linear_vector);
  out.add_input_orders(order_vector);
  out.add_layers(layer_vector);
  out.add_embedding(m.embedding);
  out.add_head(m.head);
  out.add_embedding_in(m.embedding_in);
  out.add_embedding_out(m.embedding_out);
  if (m.positions.present()) out.add_positions(&positions);
  out.add_final_norm(final_norm);
  out.add_codebooks(codebook_vector);
  out.add_tokenizer_segment(m.tokenizer_segment);
  out.add_bos_id(m.bos_id);
  out.add_eos_ids(eos);
  out.add_parameters(m.parameters);
  out.add_provenance(provenance);
  schema::FinishModelBuffer(b, out.Finish());
  const auto* data = reinterpret_cast<const std::byte*>(b.GetBufferPointer());
  return {data, data + b.GetSize()};
}

Result<Metadata> decode_metadata(std::span<const std::byte> bytes) {
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  fb::Verifier verifier(data, bytes.size(), /*max_depth=*/16, /*max_tables=*/1u << 20);
  if (bytes.size() < 16 || !schema::VerifyModelBuffer(verifier)) {
    return fail(Code::corrupt, "the metadata is not a valid FlatBuffer of kind ", schema::ModelIdentifier(),
                "; the file is damaged, make or download it again");
  }
  const schema::Model& in = *schema::GetModel(data);
  if (in.config() == nullptr || in.segments() == nullptr || in.linears() == nullptr ||
      in.layers() == nullptr) {
    return fail(Code::corrupt, "the metadata lacks its config, segments, linears or layers");
  }
  if (!aligned(in.segments()) || !aligned(in.input_orders())) {
    return fail(Code::corrupt, "the metadata's segments or input orders are not aligned");
  }
  Decoder d;
  Metadata m;
  m.config = d.config(*in.config());
  for (const auto* s : *in.segments()) {
    m.segments.push_back(
        {s->offset(), s->size(), s->checksum(), d.enum_of<SegmentKind>(s->kind(), "a segment's kind")});
  }
  for (const auto* l : *in.linears()) m.linears.push_back(d.linear(*l));
  if (in.input_orders() != nullptr) {
    for (const auto* t : *in.input_orders()) m.input_orders.push_back(d.tensor(t));
  }
  for (const auto* l : *in.layers()) m.layers.push_back(d.layer(*l));
  m.embedding = in.embedding(), m.head = in.head();
  m.embedding_in = in.embedding_in(), m.embedding_out = in.embedding_out();
  m.positions = d.tensor(in.positions());
  m.final_norm = d.norm(in.final_norm());
  if (in.codebooks() != nullptr) {
    for (const auto* c : *in.codebooks()) {
      m.codebooks.push_back({c->layer(), c->kv_head(), {}, d.tensor(c->whitening()), d.tensor(c->offset())});
      if (c->centres() != nullptr) m.codebooks.back().centres = d.linear(*c->centres());
    }
  }
  m.tokenizer_segment = in.tokenizer_segment();
  m.bos_id = in.bos_id();
  if (in.eos_ids() != nullptr) m.eos_ids.assign(in.eos_ids()->begin(), in.eos_ids()->end());
  m.parameters = in.parameters();
  if (in.provenance() != nullptr) {
    const auto& p = *in.provenance();
    m.provenance = {Decoder::text(p.source()), Decoder::text(p.license()), Decoder::text(p.tool()),
                    Decoder::text(p.settings())};
  }
  MINNOW_TRY(std::move(d.status));
  return m;
}

}  // namespace minnow::format
