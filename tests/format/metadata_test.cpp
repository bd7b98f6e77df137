// Metadata through its FlatBuffer and back, and how the bytes of a slab are cut.
#include "format/metadata.h"

#include <gtest/gtest.h>

#include "format/metadata_codec.h"

namespace minnow::format {
namespace {

/// Numbers that are different in every field.
class Filler {
 public:
  uint32_t next() { return ++value_; }
  TensorRef tensor() { return {next(), DType::f32, next(), next()}; }
  Norm norm() { return {tensor(), tensor()}; }

 private:
  uint32_t value_ = 100;
};

Metadata everything() {
  Filler f;
  Metadata m;
  Config& c = m.config;
  c.architecture = "an architecture";
  for (uint32_t* v : {&c.vocab_size, &c.hidden_size, &c.head_count, &c.kv_head_count, &c.head_dim,
                      &c.ffn_size, &c.max_context, &c.rotary_dim, &c.embedding_size}) {
    *v = f.next();
  }
  c.norm = NormKind::layer;
  c.norm_placement = NormPlacement::post_residual;
  c.qk_norm = QkNorm::full;
  c.activation = Activation::relu;
  c.ffn = FfnKind::plain;
  c.block = BlockKind::parallel;
  c.position = PositionKind::learned;
  for (float* v : {&c.norm_eps, &c.embedding_scale, &c.residual_scale, &c.logits_scale, &c.attention_scale,
                   &c.attention_softcap, &c.logits_softcap}) {
    *v = static_cast<float>(f.next()) / 8.0f;
  }
  c.ropes.push_back({{1.0f, 0.5f}, 1.25f, {0.25f, 0.125f}, f.next()});
  c.ropes.push_back({{3.0f}, 1.0f, {}, 0});
  for (const SegmentKind kind :
       {SegmentKind::small, SegmentKind::weights, SegmentKind::tokenizer, SegmentKind::codebook}) {
    m.segments.push_back({f.next(), uint64_t{f.next()} << 33, ~uint64_t{f.next()}, kind});
  }
  Slab slab{CodeType::u3,
            64,
            f.next(),
            f.next(),
            uint64_t{f.next()} << 34,
            f.next(),
            ScaleType::u8,
            f.next(),
            f.next(),
            ZeroType::u4,
            f.next(),
            f.next(),
            {-1.5f, 0.0f, 2.5f}};
  Linear linear{"a linear", f.next(),       f.next(),   Layout::channel, f.next(),
                3,          {slab, Slab{}}, f.tensor(), f.tensor(),      f.tensor()};
  m.linears = {linear, Linear{}};
  m.input_orders = {f.tensor(), f.tensor()};
  Layer layer;
  for (int32_t* v :
       {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down, &layer.rope}) {
    *v = static_cast<int32_t>(f.next());
  }
  for (Norm* n : {&layer.attn_norm, &layer.attn_post_norm, &layer.ffn_norm, &layer.ffn_post_norm,
                  &layer.q_norm, &layer.k_norm}) {
    *n = f.norm();
  }
  layer.sliding_window = f.next();
  layer.gate_thresholds = f.tensor();
  m.layers = {layer, Layer{}};
  for (int32_t* v :
       {&m.embedding, &m.head, &m.embedding_in, &m.embedding_out, &m.tokenizer_segment, &m.bos_id}) {
    *v = static_cast<int32_t>(f.next());
  }
  m.positions = f.tensor();
  m.final_norm = f.norm();
  m.codebooks.push_back({f.next(), f.next(), linear, f.tensor(), f.tensor()});
  m.eos_ids = {2, 7, -1};
  m.parameters = uint64_t{f.next()} << 40;
  m.provenance = {"source", "license", "tool", "settings"};
  return m;
}

void same(const TensorRef& a, const TensorRef& b) {
  EXPECT_EQ(a.segment, b.segment);
  EXPECT_EQ(a.dtype, b.dtype);
  EXPECT_EQ(a.offset, b.offset);
  EXPECT_EQ(a.count, b.count);
}

void same(const Norm& a, const Norm& b) {
  same(a.weight, b.weight);
  same(a.bias, b.bias);
}

void same(const Slab& a, const Slab& b) {
  EXPECT_EQ(a.code, b.code);
  EXPECT_EQ(a.group, b.group);
  EXPECT_EQ(a.first_channel, b.first_channel);
  EXPECT_EQ(a.count, b.count);
  EXPECT_EQ(a.base, b.base);
  EXPECT_EQ(a.row_stride, b.row_stride);
  EXPECT_EQ(a.scale_type, b.scale_type);
  EXPECT_EQ(a.scale_base, b.scale_base);
  EXPECT_EQ(a.scale_stride, b.scale_stride);
  EXPECT_EQ(a.zero_type, b.zero_type);
  EXPECT_EQ(a.zero_base, b.zero_base);
  EXPECT_EQ(a.zero_stride, b.zero_stride);
  EXPECT_EQ(a.levels, b.levels);
}

void same(const Linear& a, const Linear& b) {
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.rows, b.rows);
  EXPECT_EQ(a.cols, b.cols);
  EXPECT_EQ(a.layout, b.layout);
  EXPECT_EQ(a.segment, b.segment);
  EXPECT_EQ(a.input_order, b.input_order);
  ASSERT_EQ(a.slabs.size(), b.slabs.size());
  for (size_t i = 0; i < a.slabs.size(); ++i) same(a.slabs[i], b.slabs[i]);
  same(a.bias, b.bias);
  same(a.input_centre, b.input_centre);
  same(a.thresholds, b.thresholds);
}

void same(const Layer& a, const Layer& b) {
  EXPECT_EQ((std::array{a.q, a.k, a.v, a.o, a.gate, a.up, a.down, a.rope}),
            (std::array{b.q, b.k, b.v, b.o, b.gate, b.up, b.down, b.rope}));
  same(a.attn_norm, b.attn_norm);
  same(a.attn_post_norm, b.attn_post_norm);
  same(a.ffn_norm, b.ffn_norm);
  same(a.ffn_post_norm, b.ffn_post_norm);
  same(a.q_norm, b.q_norm);
  same(a.k_norm, b.k_norm);
  EXPECT_EQ(a.sliding_window, b.sliding_window);
  same(a.gate_thresholds, b.gate_thresholds);
}

void same(const Config& a, const Config& b) {
  EXPECT_EQ(a.architecture, b.architecture);
  EXPECT_EQ((std::array{a.vocab_size, a.hidden_size, a.head_count, a.kv_head_count, a.head_dim, a.ffn_size,
                        a.max_context, a.rotary_dim, a.embedding_size}),
            (std::array{b.vocab_size, b.hidden_size, b.head_count, b.kv_head_count, b.head_dim, b.ffn_size,
                        b.max_context, b.rotary_dim, b.embedding_size}));
  EXPECT_EQ(a.norm, b.norm);
  EXPECT_EQ(a.norm_placement, b.norm_placement);
  EXPECT_EQ(a.qk_norm, b.qk_norm);
  EXPECT_EQ(a.activation, b.activation);
  EXPECT_EQ(a.ffn, b.ffn);
  EXPECT_EQ(a.block, b.block);
  EXPECT_EQ(a.position, b.position);
  EXPECT_EQ((std::array{a.norm_eps, a.embedding_scale, a.residual_scale, a.logits_scale, a.attention_scale,
                        a.attention_softcap, a.logits_softcap}),
            (std::array{b.norm_eps, b.embedding_scale, b.residual_scale, b.logits_scale, b.attention_scale,
                        b.attention_softcap, b.logits_softcap}));
  ASSERT_EQ(a.ropes.size(), b.ropes.size());
  for (size_t i = 0; i < a.ropes.size(); ++i) {
    EXPECT_EQ(a.ropes[i].inv_freq, b.ropes[i].inv_freq);
    EXPECT_EQ(a.ropes[i].attention_factor, b.ropes[i].attention_factor);
    EXPECT_EQ(a.ropes[i].inv_freq_long, b.ropes[i].inv_freq_long);
    EXPECT_EQ(a.ropes[i].original_context, b.ropes[i].original_context);
  }
}

void same(const Metadata& a, const Metadata& b) {
  same(a.config, b.config);
  ASSERT_EQ(a.segments.size(), b.segments.size());
  for (size_t i = 0; i < a.segments.size(); ++i) {
    EXPECT_EQ(a.segments[i].offset, b.segments[i].offset);
    EXPECT_EQ(a.segments[i].size, b.segments[i].size);
    EXPECT_EQ(a.segments[i].checksum, b.segments[i].checksum);
    EXPECT_EQ(a.segments[i].kind, b.segments[i].kind);
  }
  ASSERT_EQ(a.linears.size(), b.linears.size());
  for (size_t i = 0; i < a.linears.size(); ++i) same(a.linears[i], b.linears[i]);
  ASSERT_EQ(a.input_orders.size(), b.input_orders.size());
  for (size_t i = 0; i < a.input_orders.size(); ++i) same(a.input_orders[i], b.input_orders[i]);
  ASSERT_EQ(a.layers.size(), b.layers.size());
  for (size_t i = 0; i < a.layers.size(); ++i) same(a.layers[i], b.layers[i]);
  EXPECT_EQ(
      (std::array{a.embedding, a.head, a.embedding_in, a.embedding_out, a.tokenizer_segment, a.bos_id}),
      (std::array{b.embedding, b.head, b.embedding_in, b.embedding_out, b.tokenizer_segment, b.bos_id}));
  same(a.positions, b.positions);
  same(a.final_norm, b.final_norm);
  ASSERT_EQ(a.codebooks.size(), b.codebooks.size());
  for (size_t i = 0; i < a.codebooks.size(); ++i) {
    const Codebook &x = a.codebooks[i], &y = b.codebooks[i];
    EXPECT_EQ((std::array{x.layer, x.kv_head}), (std::array{y.layer, y.kv_head}));
    same(x.centres, y.centres);
    same(x.whitening, y.whitening);
    same(x.offset, y.offset);
  }
  EXPECT_EQ(a.eos_ids, b.eos_ids);
  EXPECT_EQ(a.parameters, b.parameters);
  EXPECT_EQ(a.provenance.source, b.provenance.source);
  EXPECT_EQ(a.provenance.license, b.provenance.license);
  EXPECT_EQ(a.provenance.tool, b.provenance.tool);
  EXPECT_EQ(a.provenance.settings, b.provenance.settings);
}

TEST(Metadata, EveryFieldSurvives) {
  const Metadata m = everything();
  const auto back = decode_metadata(encode_metadata(m));
  ASSERT_TRUE(back.ok()) << back.status().message();
  same(*back, m);
}

TEST(Metadata, DefaultsSurvive) {
  const auto back = decode_metadata(encode_metadata(Metadata{}));
  ASSERT_TRUE(back.ok()) << back.status().message();
  same(*back, Metadata{});
}

TEST(Metadata, ForeignBytesAreRefused) {
  std::vector<std::byte> bytes = encode_metadata(everything());
  EXPECT_FALSE(decode_metadata({}).ok());
  EXPECT_FALSE(decode_metadata(std::span(bytes).first(bytes.size() / 2)).ok());
  bytes[4] = std::byte{'X'};  // the identifier
  EXPECT_FALSE(decode_metadata(bytes).ok());
}

TEST(Extent, OfEveryLayoutAndWidth) {
  struct Width {
    CodeType code;
    uint64_t bits;
  };
  for (const Width w : {Width{CodeType::f32, 32},
                        {CodeType::f16, 16},
                        {CodeType::bf16, 16},
                        {CodeType::u2, 2},
                        {CodeType::u3, 3},
                        {CodeType::u4, 4},
                        {CodeType::u8, 8}}) {
    EXPECT_EQ(bits_of(w.code), w.bits);
    Slab s;
    s.code = w.code;
    s.count = 100;  // padded to 128
    s.group = is_float(w.code) ? 0 : 64;
    const uint64_t groups = is_float(w.code) ? 0 : 2;
    const SlabExtent row = extent_of(s, Layout::row, 37);
    EXPECT_EQ(row.units, 37u);
    EXPECT_EQ(row.unit_bytes, 128 * w.bits / 8);
    EXPECT_EQ(row.scale_units, is_float(w.code) ? 0u : 37u);
    EXPECT_EQ(row.scales_per_unit, groups);
    if (is_float(w.code)) continue;  // which lie in rows only
    const SlabExtent panel = extent_of(s, Layout::panel, 37);
    EXPECT_EQ(panel.units, 3u);  // of 16 rows
    EXPECT_EQ(panel.unit_bytes, 16 * 128 * w.bits / 8);
    EXPECT_EQ(panel.scale_units, 3u);
    EXPECT_EQ(panel.scales_per_unit, 16 * groups);
    EXPECT_EQ(panel.zero_bytes(ZeroType::u4), 8 * groups);
    EXPECT_EQ(panel.zero_bytes(ZeroType::midpoint), 0u);
    const SlabExtent channel = extent_of(s, Layout::channel, 37);
    EXPECT_EQ(channel.units, 128u);
    // 37 outputs: one unit of 64 at 2 and 3 bits (and one for the third bits), two of 32 at 4, three of 16
    // at 8.
    const uint64_t units = w.bits == 2 ? 1 : w.bits == 3 ? 2 : w.bits == 4 ? 2 : 3;
    EXPECT_EQ(channel.unit_bytes, 16 * units);
    EXPECT_EQ(channel.scale_units, 2u);
    EXPECT_EQ(channel.scales_per_unit, 37u);
    EXPECT_EQ(channel.zero_bytes(ZeroType::u4), 24u);  // three sixteens
  }
  EXPECT_EQ(bits_of(CodeType::none), 0u);
}

}  // namespace
}  // namespace minnow::format
