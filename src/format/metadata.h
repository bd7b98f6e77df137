// What a .mnw file says about a model, as plain C++: the same structs serve the writer (which fills
// them) and the reader (which checks them). Offsets, not pointers; model::Weights resolves them.
//
// Goals: one description of the format in code; no FlatBuffers type outside src/format.
// Enum values are those of schema/model.fbs (static_asserts in metadata_codec.cpp).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace minnow::format {

/// Files of another schema version are refused. 0 may change until 1.0.
inline constexpr uint32_t kSchemaVersion = 0;
/// Segments start on multiples of this; kernels load whole 64-byte lines.
inline constexpr uint64_t kSegmentAlignment = 64;
/// Codes of quantised slabs, and their strides, are multiples of this: the unit of
/// kernels/common/quantised.h.
inline constexpr uint64_t kUnitAlignment = 16;
/// The largest page size in the field. Segments of weights start on such a page in models of more than
/// kPagedWeights weights; in smaller files the padding would be felt, and pages matter little.
inline constexpr uint64_t kPageAlignment = 16384;
inline constexpr uint64_t kPagedWeights = uint64_t{1} << 24;
/// Kernels may read so many bytes past the end of a slab.
inline constexpr uint64_t kSlabSlack = 64;
/// Input channels of a slab are stored padded to a multiple of this.
inline constexpr uint32_t kChannelPadding = 32;
/// Output rows interleaved in one panel.
inline constexpr uint32_t kPanelRows = 16;

enum class DType : uint8_t {
  none = 0,
  f32 = 1,
  f16 = 2,
  bf16 = 3,
  u8 = 4,
  i8 = 5,
  u16 = 6,
  u32 = 7,
  i32 = 8
};
enum class CodeType : uint8_t { none = 0, f32 = 1, f16 = 2, bf16 = 3, u2 = 4, u3 = 5, u4 = 6, u8 = 7 };
enum class Layout : uint8_t { row = 0, panel = 1, channel = 2 };
enum class ScaleType : uint8_t { none = 0, f16 = 1, f32 = 2, u8 = 3 };
enum class ZeroType : uint8_t { midpoint = 0, u8 = 1, u4 = 2 };
enum class SegmentKind : uint8_t { small = 0, weights = 1, tokenizer = 2, codebook = 3 };
enum class NormKind : uint8_t { rms = 0, layer = 1 };
enum class NormPlacement : uint8_t { pre = 0, post_branch = 1, sandwich = 2, post_residual = 3 };
enum class QkNorm : uint8_t { none = 0, per_head = 1, full = 2 };
enum class Activation : uint8_t { silu = 0, gelu_tanh = 1, gelu_erf = 2, relu = 3 };
enum class FfnKind : uint8_t { gated = 0, plain = 1 };
enum class BlockKind : uint8_t { sequential = 0, parallel = 1 };
enum class PositionKind : uint8_t { rope = 0, learned = 1 };

/// Bits of one stored weight, 0 for `none`.
uint32_t bits_of(CodeType code);
bool is_float(CodeType code);
uint64_t size_of(DType dtype);
uint64_t size_of(ScaleType type);
const char* name_of(CodeType code);
const char* name_of(Layout layout);

/// A run of elements in a segment. dtype none: there is no such tensor.
struct TensorRef {
  uint32_t segment = 0;
  DType dtype = DType::none;
  uint64_t offset = 0;
  uint64_t count = 0;
  bool present() const { return dtype != DType::none; }
};

struct Segment {
  uint64_t offset = 0, size = 0, checksum = 0;
  SegmentKind kind = SegmentKind::small;
};

struct Slab {
  CodeType code = CodeType::none;
  uint16_t group = 0;
  uint32_t first_channel = 0, count = 0;
  uint64_t base = 0, row_stride = 0;
  ScaleType scale_type = ScaleType::none;
  uint64_t scale_base = 0, scale_stride = 0;
  ZeroType zero_type = ZeroType::midpoint;
  uint64_t zero_base = 0, zero_stride = 0;
  std::vector<float> levels;

  uint32_t padded() const { return (count + kChannelPadding - 1) / kChannelPadding * kChannelPadding; }
  uint32_t groups() const { return group == 0 ? 0 : (padded() + group - 1) / group; }
};

/// How the bytes of a slab of a linear with `rows` outputs are cut, for each layout.
struct SlabExtent {
  uint64_t units = 0;        ///< rows, panels or channels
  uint64_t unit_bytes = 0;   ///< codes in one of them
  uint64_t scale_units = 0;  ///< rows, panels or groups of channels
  uint64_t scales_per_unit = 0;
  /// 4-bit zeros lie by sixteens.
  uint64_t zero_bytes(ZeroType type) const {
    return type == ZeroType::u4   ? (scales_per_unit + 15) / 16 * 8
           : type == ZeroType::u8 ? scales_per_unit
                                  : 0;
  }
};
SlabExtent extent_of(const Slab& slab, Layout layout, uint32_t rows);

struct Linear {
  std::string name;
  uint32_t rows = 0, cols = 0;
  Layout layout = Layout::row;
  uint32_t segment = 0;
  int32_t input_order = -1;
  std::vector<Slab> slabs;
  TensorRef bias, input_centre, thresholds;
};

struct Norm {
  TensorRef weight, bias;
  bool present() const { return weight.present(); }
};

struct Layer {
  int32_t q = -1, k = -1, v = -1, o = -1, gate = -1, up = -1, down = -1;
  Norm attn_norm, attn_post_norm, ffn_norm, ffn_post_norm, q_norm, k_norm;
  uint32_t sliding_window = 0;
  int32_t rope = -1;
  TensorRef gate_thresholds;
};

struct Rope {
  std::vector<float> inv_freq;
  float attention_factor = 1.0f;
  std::vector<float> inv_freq_long;
  uint32_t original_context = 0;
};

struct Config {
  std::string architecture;
  uint32_t vocab_size = 0, hidden_size = 0, head_count = 0, kv_head_count = 0, head_dim = 0, ffn_size = 0;
  uint32_t max_context = 0, rotary_dim = 0, embedding_size = 0;
  NormKind norm = NormKind::rms;
  NormPlacement norm_placement = NormPlacement::pre;
  float norm_eps = 1e-5f;
  QkNorm qk_norm = QkNorm::none;
  Activation activation = Activation::silu;
  FfnKind ffn = FfnKind::gated;
  BlockKind block = BlockKind::sequential;
  PositionKind position = PositionKind::rope;
  float embedding_scale = 1.0f, residual_scale = 1.0f, logits_scale = 1.0f;
  float attention_scale = 0.0f, attention_softcap = 0.0f, logits_softcap = 0.0f;
  std::vector<Rope> ropes;

  uint32_t q_size() const { return head_count * head_dim; }
  uint32_t kv_size() const { return kv_head_count * head_dim; }
  uint32_t group_size() const { return head_count / kv_head_count; }  ///< query heads per KV head (GQA)
};

struct Codebook {
  uint32_t layer = 0, kv_head = 0;
  Linear centres;
  TensorRef whitening, offset;
};

struct Provenance {
  std::string source, license, tool, settings;
};

struct Metadata {
  Config config;
  std::vector<Segment> segments;
  std::vector<Linear> linears;
  std::vector<TensorRef> input_orders;
  std::vector<Layer> layers;
  int32_t embedding = -1, head = -1, embedding_in = -1, embedding_out = -1;
  TensorRef positions;
  Norm final_norm;
  std::vector<Codebook> codebooks;
  int32_t tokenizer_segment = -1;
  int32_t bos_id = -1;
  std::vector<int32_t> eos_ids;
  uint64_t parameters = 0;
  Provenance provenance;
};

}  // namespace minnow::format
