#include "format/container.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/checked.h"
#include "format/metadata_codec.h"

namespace minnow::format {
namespace {

static_assert(std::endian::native == std::endian::little,
              ".mnw files are little-endian and used as they lie");

constexpr const char* kRemedy = "; the file is damaged, make or download it again";

Result<Header> read_header(std::span<const std::byte> bytes) {
  if (bytes.size() < kHeaderSize) {
    return fail(Code::corrupt, "the file has ", bytes.size(), " bytes, too few for a .mnw header of ",
                kHeaderSize, kRemedy);
  }
  Header h;
  std::memcpy(&h, bytes.data(), sizeof h);
  if (std::memcmp(h.magic, kMagic, sizeof kMagic) != 0) {
    return fail(Code::unsupported,
                "this is not a .mnw file (wrong magic bytes); make one with 'minnow compress'");
  }
  if (h.header_checksum != checksum(bytes.first(offsetof(Header, header_checksum)))) {
    return fail(Code::corrupt, "the header's checksum does not match", kRemedy);
  }
  if (h.version != kSchemaVersion) {
    return fail(Code::unsupported, "the file has schema version ", h.version, ", this minnow reads version ",
                kSchemaVersion, "; make the file again with this version's 'minnow compress'");
  }
  if (h.header_size != kHeaderSize || h.reserved != 0) {
    return fail(Code::corrupt, "the header claims a size of ", h.header_size, " bytes, it has ", kHeaderSize,
                kRemedy);
  }
  if (h.file_size != bytes.size()) {
    return fail(Code::corrupt, "the file has ", bytes.size(), " bytes, its header says ", h.file_size,
                h.file_size > bytes.size() ? ": it was cut short, download or copy it again" : kRemedy);
  }
  if (!range_fits(h.metadata_offset, h.metadata_size, h.file_size) || h.metadata_offset < kHeaderSize ||
      h.metadata_offset % kSegmentAlignment != 0) {
    return fail(Code::corrupt, "the metadata (offset ", h.metadata_offset, ", ", h.metadata_size,
                " bytes) does not lie inside the file", kRemedy);
  }
  if (checksum(bytes.subspan(h.metadata_offset, h.metadata_size)) != h.metadata_checksum) {
    return fail(Code::corrupt, "the metadata's checksum does not match", kRemedy);
  }
  return h;
}

Status check_segments(const Metadata& m, const Header& h, std::span<const std::byte> bytes) {
  struct Range {
    uint64_t begin, end;
    size_t index;
  };
  std::vector<Range> ranges;
  for (size_t i = 0; i < m.segments.size(); ++i) {
    const Segment& s = m.segments[i];
    if (!range_fits(s.offset, s.size, h.file_size) || s.offset < kHeaderSize ||
        s.offset % kSegmentAlignment != 0) {
      return fail(Code::corrupt, "segment ", i, " (offset ", s.offset, ", ", s.size,
                  " bytes) does not lie inside the file", kRemedy);
    }
    ranges.push_back({s.offset, s.offset + s.size, i});
    if (s.kind == SegmentKind::small && checksum(bytes.subspan(s.offset, s.size)) != s.checksum) {
      return fail(Code::corrupt, "the checksum of segment ", i, " (small tensors) does not match", kRemedy);
    }
  }
  ranges.push_back({h.metadata_offset, h.metadata_offset + h.metadata_size, m.segments.size()});
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
  for (size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].begin < ranges[i - 1].end) {
      return fail(Code::corrupt, "segments ", ranges[i - 1].index, " and ", ranges[i].index, " overlap",
                  kRemedy);
    }
  }
  return {};
}

/// Bounds, alignment, dtype; finite values for floats of small segments.
class TensorCheck {
 public:
  TensorCheck(const Metadata& m, std::span<const std::byte> bytes) : m_(m), bytes_(bytes) {}

  Status tensor(const TensorRef& t, DType dtype, const std::string& what) const {
    if (!t.present()) return {};
    if (dtype != DType::none && t.dtype != dtype) {
      return fail(Code::corrupt, what, " has dtype ", int(t.dtype), ", expected ", int(dtype), kRemedy);
    }
    const auto size = checked_mul(t.count, size_of(t.dtype));
    if (t.segment >= m_.segments.size() || !size || t.offset % size_of(t.dtype) != 0 ||
        !range_fits(t.offset, *size, m_.segments[t.segment].size)) {
      return fail(Code::corrupt, what, " (segment ", t.segment, ", offset ", t.offset, ", ", t.count,
                  " elements) does not lie inside its segment", kRemedy);
    }
    if (t.dtype != DType::f32 || m_.segments[t.segment].kind != SegmentKind::small) return {};
    const auto* values =
        reinterpret_cast<const float*>(bytes_.data() + m_.segments[t.segment].offset + t.offset);
    for (uint64_t i = 0; i < t.count; ++i) {
      if (!std::isfinite(values[i])) {
        return fail(Code::corrupt, what, " holds a value that is not finite at index ", i, kRemedy);
      }
    }
    return {};
  }

  Status norm(const Norm& n, const std::string& what) const {
    MINNOW_TRY(tensor(n.weight, DType::f32, what + ".weight"));
    return tensor(n.bias, DType::f32, what + ".bias");
  }

  Status strided(const Linear& l, const char* what, uint64_t base, uint64_t stride, uint64_t units,
                 uint64_t unit_bytes, uint64_t alignment) const {
    const uint64_t segment_size = m_.segments[l.segment].size;
    const bool aligned = base % alignment == 0 && (units <= 1 || stride % alignment == 0);
    if (units == 0 || unit_bytes == 0 || (units > 1 && stride < unit_bytes) || !aligned) {
      return fail(Code::corrupt, "linear '", l.name, "': its ", what,
                  " have a base, stride or size that cannot be (base ", base, ", stride ", stride, ", ",
                  units, " units of ", unit_bytes, " bytes)", kRemedy);
    }
    const auto span = checked_mul(units - 1, stride);
    const auto end = span ? checked_add(*span, unit_bytes) : std::nullopt;
    if (!end || !range_fits(base, *end, segment_size) || segment_size - base - *end < kSlabSlack) {
      return fail(Code::corrupt, "linear '", l.name, "': its ", what, " do not lie inside segment ",
                  l.segment, kRemedy);
    }
    return {};
  }

  Status slab(const Linear& l, const Slab& s) const {
    if (s.code == CodeType::none || s.count == 0 || s.count > l.cols) {
      return fail(Code::corrupt, "linear '", l.name, "' has a slab without a code type or with ", s.count,
                  " channels", kRemedy);
    }
    const SlabExtent e = extent_of(s, l.layout, l.rows);
    MINNOW_TRY(strided(l, "codes", s.base, s.row_stride, e.units, e.unit_bytes,
                       is_float(s.code) ? kSegmentAlignment : kUnitAlignment));
    if (is_float(s.code)) {
      if (s.group != 0 || s.scale_type != ScaleType::none || s.zero_type != ZeroType::midpoint ||
          !s.levels.empty()) {
        return fail(Code::corrupt, "linear '", l.name, "': a float slab has scales, zeros or levels",
                    kRemedy);
      }
      return {};
    }
    if (s.group != 32 && s.group != 64 && s.group != 128) {
      return fail(Code::unsupported, "linear '", l.name, "' has a group size of ", s.group,
                  "; 32, 64 and 128 are known");
    }
    if (s.scale_type == ScaleType::none)
      return fail(Code::corrupt, "linear '", l.name, "' has codes without scales", kRemedy);
    const uint64_t scale_size = size_of(s.scale_type);
    MINNOW_TRY(strided(l, "scales", s.scale_base, s.scale_stride, e.scale_units,
                       e.scales_per_unit * scale_size, scale_size));
    if (s.zero_type != ZeroType::midpoint) {
      MINNOW_TRY(
          strided(l, "zeros", s.zero_base, s.zero_stride, e.scale_units, e.zero_bytes(s.zero_type), 1));
    }
    if (!s.levels.empty() && s.levels.size() != (size_t{1} << bits_of(s.code))) {
      return fail(Code::corrupt, "linear '", l.name, "' has ", s.levels.size(), " levels for codes of ",
                  bits_of(s.code), " bits", kRemedy);
    }
    return {};
  }

  Status linear(const Linear& l) const {
    constexpr uint32_t kLimit = 1u << 28;
    if (l.rows == 0 || l.cols == 0 || l.rows > kLimit || l.cols > kLimit || l.segment >= m_.segments.size()) {
      return fail(Code::corrupt, "linear '", l.name, "' claims a shape of ", l.rows, " x ", l.cols,
                  " in segment ", l.segment, kRemedy);
    }
    uint64_t next = 0;
    for (const Slab& s : l.slabs) {
      if (s.first_channel != next) {
        return fail(Code::corrupt, "linear '", l.name, "': a slab starts at channel ", s.first_channel,
                    ", expected ", next, kRemedy);
      }
      next += s.count;
      MINNOW_TRY(slab(l, s));
    }
    if (next != l.cols) {
      return fail(Code::corrupt, "linear '", l.name, "': its slabs hold ", next, " of ", l.cols, " channels",
                  kRemedy);
    }
    if (l.input_order < -1 || l.input_order >= int64_t(m_.input_orders.size())) {
      return fail(Code::corrupt, "linear '", l.name, "' names the input order ", l.input_order,
                  ", there are ", m_.input_orders.size(), kRemedy);
    }
    if (l.input_order >= 0 && m_.input_orders[size_t(l.input_order)].count != l.cols) {
      return fail(Code::corrupt, "linear '", l.name, "': its input order has another length than its inputs",
                  kRemedy);
    }
    MINNOW_TRY(sized(l, l.bias, l.rows, "bias"));
    MINNOW_TRY(sized(l, l.input_centre, l.cols, "input centre"));
    MINNOW_TRY(sized(l, l.thresholds, l.cols, "thresholds"));
    return thresholds(l.thresholds, cat("linear '", l.name, "': thresholds"));
  }

  /// Numbers of at least 0, wherever they lie.
  Status thresholds(const TensorRef& t, const std::string& what) const {
    MINNOW_TRY(tensor(t, DType::f32, what));
    if (!t.present()) return {};
    const auto* values =
        reinterpret_cast<const float*>(bytes_.data() + m_.segments[t.segment].offset + t.offset);
    for (uint64_t i = 0; i < t.count; ++i) {
      if (!(values[i] >= 0.0f) || !std::isfinite(values[i])) {
        return fail(Code::corrupt, what, " holds ", values[i], " at index ", i,
                    ", and a threshold is a number of at least 0", kRemedy);
      }
    }
    return {};
  }

  /// Floats of any width.
  Status positions(const TensorRef& t) const {
    const bool half = t.dtype == DType::f16 || t.dtype == DType::bf16;
    MINNOW_TRY(tensor(t, half ? t.dtype : DType::f32, "positions"));
    if (!t.present() || !half) return {};
    const auto* values =
        reinterpret_cast<const uint16_t*>(bytes_.data() + m_.segments[t.segment].offset + t.offset);
    const uint16_t exponent = t.dtype == DType::f16 ? 0x7c00 : 0x7f80;
    for (uint64_t i = 0; i < t.count; ++i) {
      if ((values[i] & exponent) == exponent)
        return fail(Code::corrupt, "positions hold a value that is not finite at index ", i, kRemedy);
    }
    return {};
  }

  /// A permutation: every channel once.
  Status input_order(const TensorRef& t, size_t index) const {
    MINNOW_TRY(tensor(t, DType::u32, cat("input order ", index)));
    const auto* values =
        reinterpret_cast<const uint32_t*>(bytes_.data() + m_.segments[t.segment].offset + t.offset);
    std::vector<bool> seen(t.count);
    for (uint64_t i = 0; i < t.count; ++i) {
      if (values[i] >= t.count || seen[values[i]]) {
        return fail(Code::corrupt, "input order ", index, " is not a permutation (entry ", i, ")", kRemedy);
      }
      seen[values[i]] = true;
    }
    return {};
  }

 private:
  Status sized(const Linear& l, const TensorRef& t, uint64_t count, const char* what) const {
    if (t.present() && t.count != count) {
      return fail(Code::corrupt, "linear '", l.name, "' has ", t.count, " values of ", what, ", expected ",
                  count, kRemedy);
    }
    return tensor(t, DType::f32, cat("linear '", l.name, "': ", what));
  }

  const Metadata& m_;
  std::span<const std::byte> bytes_;
};

Status check_tensors(const Metadata& m, std::span<const std::byte> bytes) {
  const TensorCheck check(m, bytes);
  for (size_t i = 0; i < m.input_orders.size(); ++i) {
    if (!m.input_orders[i].present()) return fail(Code::corrupt, "input order ", i, " is empty", kRemedy);
    MINNOW_TRY(check.input_order(m.input_orders[i], i));
  }
  for (const Linear& l : m.linears) MINNOW_TRY(check.linear(l));
  for (size_t i = 0; i < m.layers.size(); ++i) {
    const Layer& l = m.layers[i];
    const std::string where = cat("layer ", i);
    MINNOW_TRY(check.norm(l.attn_norm, where + " attn_norm"));
    MINNOW_TRY(check.norm(l.attn_post_norm, where + " attn_post_norm"));
    MINNOW_TRY(check.norm(l.ffn_norm, where + " ffn_norm"));
    MINNOW_TRY(check.norm(l.ffn_post_norm, where + " ffn_post_norm"));
    MINNOW_TRY(check.norm(l.q_norm, where + " q_norm"));
    MINNOW_TRY(check.norm(l.k_norm, where + " k_norm"));
    MINNOW_TRY(check.thresholds(l.gate_thresholds, where + " gate_thresholds"));
  }
  MINNOW_TRY(check.norm(m.final_norm, "final_norm"));
  MINNOW_TRY(check.positions(m.positions));
  for (size_t i = 0; i < m.codebooks.size(); ++i) {
    const Codebook& c = m.codebooks[i];
    const std::string where = cat("codebook ", i);
    MINNOW_TRY(check.linear(c.centres));
    const uint64_t stride = round_up(uint64_t{c.centres.cols}, uint64_t{kChannelPadding});
    if (c.whitening.count != c.centres.cols * stride) {
      return fail(Code::corrupt, where, ": its whitening has ", c.whitening.count, " values, expected ",
                  c.centres.cols, " x ", stride, kRemedy);
    }
    if (c.offset.count != c.centres.cols) {
      return fail(Code::corrupt, where, ": its offset has ", c.offset.count, " values, expected ",
                  c.centres.cols, kRemedy);
    }
    MINNOW_TRY(check.tensor(c.whitening, DType::f32, where + " whitening"));
    MINNOW_TRY(check.tensor(c.offset, DType::f32, where + " offset"));
  }
  if (m.tokenizer_segment < -1 || m.tokenizer_segment >= int64_t(m.segments.size())) {
    return fail(Code::corrupt, "the tokenizer is said to be segment ", m.tokenizer_segment, ", there are ",
                m.segments.size(), kRemedy);
  }
  return {};
}

}  // namespace

uint64_t checksum(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

Result<Container> Container::open(MappedFile file) {
  const auto bytes = file.bytes();
  if (reinterpret_cast<uintptr_t>(bytes.data()) % kSegmentAlignment != 0) {
    return fail(Code::invalid_argument, "the model's bytes must start at a multiple of ", kSegmentAlignment,
                " bytes; align the buffer, or the offset within the package");
  }
  MINNOW_ASSIGN(const Header header, read_header(bytes));
  Container out;
  MINNOW_ASSIGN(out.metadata_, decode_metadata(bytes.subspan(header.metadata_offset, header.metadata_size)));
  out.metadata_size_ = header.metadata_size;
  MINNOW_TRY(check_segments(out.metadata_, header, bytes));
  MINNOW_TRY(check_tensors(out.metadata_, bytes));
  out.file_ = std::move(file);
  return out;
}

std::span<const std::byte> Container::segment(uint32_t index) const {
  const Segment& s = metadata_.segments[index];
  return file_.bytes().subspan(s.offset, s.size);
}

std::span<const float> Container::floats(const TensorRef& t) const {
  if (!t.present()) return {};
  return {reinterpret_cast<const float*>(segment(t.segment).data() + t.offset), t.count};
}

const uint8_t* Container::bytes(const TensorRef& t) const {
  return reinterpret_cast<const uint8_t*>(segment(t.segment).data()) + t.offset;
}

std::span<const uint32_t> Container::uints(const TensorRef& t) const {
  if (!t.present()) return {};
  return {reinterpret_cast<const uint32_t*>(segment(t.segment).data() + t.offset), t.count};
}

std::span<const std::byte> Container::tokenizer() const {
  if (metadata_.tokenizer_segment < 0) return {};
  return segment(static_cast<uint32_t>(metadata_.tokenizer_segment));
}

}  // namespace minnow::format
