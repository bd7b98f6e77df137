#include "format/verify.h"

#include <cmath>
#include <cstring>

namespace minnow::format {
namespace {

/// Exponent bits all ones: infinity or NaN.
bool finite16(uint16_t bits, uint16_t exponent) {
  return (bits & exponent) != exponent;
}

bool finite_run(CodeType code, const uint8_t* p, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    if (code == CodeType::f32) {
      float v;
      std::memcpy(&v, p + 4 * i, 4);
      if (!std::isfinite(v)) return false;
    } else {
      uint16_t v;
      std::memcpy(&v, p + 2 * i, 2);
      if (!finite16(v, code == CodeType::f16 ? 0x7c00 : 0x7f80)) return false;
    }
  }
  return true;
}

Status verify_slab(const Linear& l, const Slab& s, const uint8_t* base) {
  const SlabExtent e = extent_of(s, l.layout, l.rows);
  if (is_float(s.code)) {
    const uint64_t per_unit = e.unit_bytes * 8 / bits_of(s.code);
    for (uint64_t u = 0; u < e.units; ++u) {
      if (!finite_run(s.code, base + s.base + u * s.row_stride, per_unit)) {
        return fail(Code::corrupt, "linear '", l.name, "' holds a weight that is not finite in row ", u);
      }
    }
    return {};
  }
  if (s.scale_type == ScaleType::u8) return {};
  const CodeType as = s.scale_type == ScaleType::f32 ? CodeType::f32 : CodeType::f16;
  for (uint64_t u = 0; u < e.scale_units; ++u) {
    if (!finite_run(as, base + s.scale_base + u * s.scale_stride, e.scales_per_unit)) {
      return fail(Code::corrupt, "linear '", l.name, "' holds a scale that is not finite in row ", u);
    }
  }
  return {};
}

}  // namespace

Status verify_payload(const Container& container) {
  const Metadata& m = container.metadata();
  for (uint32_t i = 0; i < m.segments.size(); ++i) {
    if (checksum(container.segment(i)) != m.segments[i].checksum) {
      return fail(Code::corrupt, "the checksum of segment ", i,
                  " does not match; the file is damaged, make or download it again");
    }
  }
  for (const Linear& l : m.linears) {
    const auto* base = reinterpret_cast<const uint8_t*>(container.segment(l.segment).data());
    for (const Slab& s : l.slabs) MINNOW_TRY(verify_slab(l, s, base));
  }
  return {};
}

}  // namespace minnow::format
