#include "compress/layout.h"

#include <algorithm>

#include "base/checked.h"
#include "kernels/common/float_bits.h"
#include "kernels/common/quantised.h"

namespace minnow::compress {
namespace {

using format::Layout;
using format::Slab;
using format::SlabExtent;

/// Writes code `i` of a run of units that holds `elements`; the run starts as zeros.
void put_in_run(uint8_t* run, uint32_t bits, size_t elements, size_t i, uint32_t code) {
  const size_t per_unit = unit_elements(static_cast<int>(bits)), unit = i / per_unit, plane = i % per_unit / 16;
  const size_t byte = i % 16;
  const uint32_t width = bits == 3 ? 2 : bits;
  run[16 * unit + byte] |= static_cast<uint8_t>((code & ((1u << width) - 1)) << (width * plane));
  if (bits != 3) return;
  uint8_t* third = run + 16 * ((elements + 63) / 64);
  third[unit / 2 * 16 + byte] |= static_cast<uint8_t>((code >> 2) << (plane + 4 * (unit % 2)));
}

/// Writes the code of channel k of output `lane` of a panel; the panel starts as zeros.
void put_in_panel(uint8_t* panel, uint32_t bits, size_t lane, size_t k, uint32_t code) {
  uint8_t* block = panel + k / kPanelBlock * 64 * bits;
  const size_t step = k % kPanelBlock / 4, at = 4 * lane + k % 4;
  const uint32_t width = bits == 3 ? 2 : bits;
  const size_t vectors = 64 * width * kPanelBlock / 4 / 8 / 64;  // that hold the eight steps
  block[64 * (step % vectors) + at] |= static_cast<uint8_t>((code & ((1u << width) - 1)) << (width * (step / vectors)));
  if (bits == 3) block[64 * vectors + at] |= static_cast<uint8_t>((code >> 2) << step);
}

void put_zero(uint8_t* zeros, size_t i, uint8_t zero) {
  zeros[i / 16 * 8 + i % 8] |= static_cast<uint8_t>(zero << (i % 16 < 8 ? 0 : 4));
}

uint16_t scale_bits(float scale) {
  return f16_of_f32(scale);
}

/// What padding codes are: nothing reads their product, but 8-bit ones stand for zero.
struct Packing {
  const QuantisedLinear& linear;
  const QuantisedSlab& in;
  uint32_t bits;
  uint32_t padded;
  uint32_t groups;

  const uint8_t* codes(size_t row) const { return in.codes.data() + row * in.count; }

  void row(size_t r, uint8_t* codes_out, uint16_t* scales, uint8_t* zeros) const {
    for (uint32_t c = 0; c < in.count; ++c) put_in_run(codes_out, bits, padded, c, codes(r)[c]);
    for (uint32_t g = 0; g < groups; ++g) factor(r, g, scales, zeros, g);
  }
  void panel(size_t p, uint8_t* out, uint16_t* scales, uint8_t* zeros) const {
    for (size_t lane = 0; lane < kPanelOutputs; ++lane) {
      const size_t r = p * kPanelOutputs + lane;
      if (r >= linear.rows) return;
      for (uint32_t c = 0; c < in.count; ++c) put_in_panel(out, bits, lane, c, codes(r)[c]);
      for (uint32_t g = 0; g < groups; ++g) factor(r, g, scales, zeros, g * kPanelOutputs + lane);
    }
  }
  void channel(size_t c, uint8_t* out) const {
    for (size_t r = 0; r < linear.rows && c < in.count; ++r) put_in_run(out, bits, linear.rows, r, codes(r)[c]);
  }
  void factor(size_t r, size_t g, uint16_t* scales, uint8_t* zeros, size_t at) const {
    scales[at] = scale_bits(in.scales[r * groups + g]);
    if (!in.zeros.empty()) put_zero(zeros, at, in.zeros[r * groups + g]);
  }
};

Status check(const QuantisedLinear& l) {
  uint32_t next = 0;
  for (const QuantisedSlab& s : l.slabs) {
    const uint64_t factors = uint64_t{l.rows} * (s.group == 0 ? 0 : s.groups());
    if (s.first != next || s.count == 0 || s.codes.size() != uint64_t{l.rows} * s.count || factors == 0 ||
        s.scales.size() != factors || (!s.zeros.empty() && s.zeros.size() != factors)) {
      return fail(Code::internal, "linear '", l.name, "': the slab at channel ", s.first, " is incomplete");
    }
    next += s.count;
  }
  if (next != l.cols) return fail(Code::internal, "linear '", l.name, "': slabs hold ", next, " of ", l.cols, " channels");
  return {};
}

Slab record_of(const QuantisedSlab& in) {
  Slab s;
  s.code = in.code;
  s.group = static_cast<uint16_t>(in.group);
  s.first_channel = in.first, s.count = in.count;
  s.scale_type = format::ScaleType::f16;
  s.zero_type = in.zeros.empty() ? format::ZeroType::midpoint : format::ZeroType::u4;
  return s;
}

/// Units of a batch: some megabytes at a time.
size_t batch_of(size_t unit_bytes, size_t units) {
  return std::clamp<size_t>((size_t{16} << 20) / std::max<size_t>(unit_bytes, 1), 1, units);
}

Status append_rows(const QuantisedLinear& linear, format::Writer& writer, ThreadPool& pool, format::Linear& out) {
  struct Place {
    size_t codes, scales, zeros;
  };
  std::vector<Place> places;
  std::vector<Packing> packings;
  size_t stride = 0;
  for (const QuantisedSlab& in : linear.slabs) {
    Slab s = record_of(in);
    const SlabExtent e = extent_of(s, Layout::row, linear.rows);
    Place p{};
    p.codes = stride;
    p.scales = p.codes + e.unit_bytes;
    p.zeros = p.scales + e.scales_per_unit * sizeof(uint16_t);
    stride = round_up(p.zeros + size_t{e.zero_bytes(s.zero_type)}, size_t{format::kUnitAlignment});
    places.push_back(p);
    packings.push_back({linear, in, format::bits_of(in.code), s.padded(), s.groups()});
    out.slabs.push_back(std::move(s));
  }
  MINNOW_ASSIGN(const uint64_t base, writer.align(format::kSegmentAlignment));
  for (size_t i = 0; i < out.slabs.size(); ++i) {
    Slab& s = out.slabs[i];
    s.base = base + places[i].codes, s.row_stride = stride;
    s.scale_base = base + places[i].scales, s.scale_stride = stride;
    if (s.zero_type != format::ZeroType::midpoint) s.zero_base = base + places[i].zeros, s.zero_stride = stride;
  }
  const size_t batch = batch_of(stride, linear.rows);
  std::vector<uint8_t> bytes(batch * stride);
  for (size_t first = 0; first < linear.rows; first += batch) {
    const size_t count = std::min(batch, linear.rows - first);
    std::fill(bytes.begin(), bytes.end(), uint8_t{0});
    pool.parallel_for(count, 4, [&](size_t begin, size_t end, uint32_t) {
      for (size_t i = begin; i < end; ++i) {
        uint8_t* row = bytes.data() + i * stride;
        for (size_t k = 0; k < packings.size(); ++k) {
          packings[k].row(first + i, row + places[k].codes, reinterpret_cast<uint16_t*>(row + places[k].scales),
                          row + places[k].zeros);
        }
      }
    });
    MINNOW_TRY(writer.append(std::as_bytes(std::span(bytes.data(), count * stride))));
  }
  return {};
}

Status append_slab(const QuantisedLinear& linear, const QuantisedSlab& in, Layout layout, format::Writer& writer,
                   ThreadPool& pool, format::Linear& out) {
  Slab s = record_of(in);
  const SlabExtent e = extent_of(s, layout, linear.rows);
  const Packing packing{linear, in, format::bits_of(in.code), s.padded(), s.groups()};
  std::vector<uint16_t> scales(e.scale_units * e.scales_per_unit);
  const size_t zero_stride = e.zero_bytes(s.zero_type);
  std::vector<uint8_t> zeros(e.scale_units * zero_stride);
  MINNOW_ASSIGN(s.base, writer.align(format::kSegmentAlignment));
  s.row_stride = e.unit_bytes;
  if (layout == Layout::channel) {
    for (size_t g = 0; g < s.groups(); ++g) {
      for (size_t r = 0; r < linear.rows; ++r)
        packing.factor(r, g, scales.data() + g * e.scales_per_unit, zeros.data() + g * zero_stride, r);
    }
  }
  const size_t batch = batch_of(e.unit_bytes, e.units);
  std::vector<uint8_t> bytes(batch * e.unit_bytes);
  for (size_t first = 0; first < e.units; first += batch) {
    const size_t count = std::min(batch, e.units - first);
    std::fill(bytes.begin(), bytes.end(), uint8_t{0});
    pool.parallel_for(count, 2, [&](size_t begin, size_t end, uint32_t) {
      for (size_t i = begin; i < end; ++i) {
        uint8_t* unit = bytes.data() + i * e.unit_bytes;
        if (layout == Layout::channel) {
          packing.channel(first + i, unit);
        } else {
          packing.panel(first + i, unit, scales.data() + (first + i) * e.scales_per_unit,
                        zeros.data() + (first + i) * zero_stride);
        }
      }
    });
    MINNOW_TRY(writer.append(std::as_bytes(std::span(bytes.data(), count * e.unit_bytes))));
  }
  MINNOW_ASSIGN(s.scale_base, writer.align(2));
  s.scale_stride = e.scales_per_unit * sizeof(uint16_t);
  MINNOW_TRY(writer.append(std::as_bytes(std::span(scales))));
  if (s.zero_type != format::ZeroType::midpoint) {
    MINNOW_ASSIGN(s.zero_base, writer.align(1));
    s.zero_stride = zero_stride;
    MINNOW_TRY(writer.append(std::as_bytes(std::span(zeros))));
  }
  out.slabs.push_back(std::move(s));
  return {};
}

}  // namespace

Status append_quantised(const QuantisedLinear& linear, Layout layout, format::Writer& writer, ThreadPool& pool,
                        format::Linear& out) {
  MINNOW_TRY(check(linear));
  out.layout = layout;
  if (layout == Layout::row) return append_rows(linear, writer, pool, out);
  for (const QuantisedSlab& s : linear.slabs) MINNOW_TRY(append_slab(linear, s, layout, writer, pool, out));
  return {};
}

}  // namespace minnow::compress
