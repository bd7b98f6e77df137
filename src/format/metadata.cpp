#include "format/metadata.h"

#include "base/checked.h"
#include "kernels/common/quantised.h"

namespace minnow::format {

uint32_t bits_of(CodeType code) {
  switch (code) {
    case CodeType::none:
      return 0;
    case CodeType::f32:
      return 32;
    case CodeType::f16:
      return 16;
    case CodeType::bf16:
      return 16;
    case CodeType::u2:
      return 2;
    case CodeType::u3:
      return 3;
    case CodeType::u4:
      return 4;
    case CodeType::u8:
      return 8;
  }
  return 0;
}

bool is_float(CodeType code) {
  return code == CodeType::f32 || code == CodeType::f16 || code == CodeType::bf16;
}

uint64_t size_of(DType dtype) {
  switch (dtype) {
    case DType::none:
      return 0;
    case DType::f32:
      return 4;
    case DType::f16:
      return 2;
    case DType::bf16:
      return 2;
    case DType::u8:
      return 1;
    case DType::i8:
      return 1;
    case DType::u16:
      return 2;
    case DType::u32:
      return 4;
    case DType::i32:
      return 4;
  }
  return 0;
}

uint64_t size_of(ScaleType type) {
  switch (type) {
    case ScaleType::none:
      return 0;
    case ScaleType::f16:
      return 2;
    case ScaleType::f32:
      return 4;
    case ScaleType::u8:
      return 1;
  }
  return 0;
}

const char* name_of(CodeType code) {
  switch (code) {
    case CodeType::none:
      return "none";
    case CodeType::f32:
      return "f32";
    case CodeType::f16:
      return "f16";
    case CodeType::bf16:
      return "bf16";
    case CodeType::u2:
      return "u2";
    case CodeType::u3:
      return "u3";
    case CodeType::u4:
      return "u4";
    case CodeType::u8:
      return "u8";
  }
  return "unknown";
}

const char* name_of(Layout layout) {
  switch (layout) {
    case Layout::row:
      return "row";
    case Layout::panel:
      return "panel";
    case Layout::channel:
      return "channel";
  }
  return "unknown";
}

SlabExtent extent_of(const Slab& slab, Layout layout, uint32_t rows) {
  const int bits = static_cast<int>(bits_of(slab.code));
  SlabExtent e;
  if (is_float(slab.code)) {  // rows, whatever the layout says: nothing else is known for floats
    e.units = rows;
    e.unit_bytes = uint64_t{slab.padded()} * bits_of(slab.code) / 8;
    return e;
  }
  switch (layout) {
    case Layout::row:
      e = {rows, run_bytes(bits, slab.padded()), rows, slab.groups()};
      break;
    case Layout::panel:
      e.units = ceil_div(uint64_t{rows}, uint64_t{kPanelRows});
      e.unit_bytes = panel_bytes(bits, slab.padded());
      e.scale_units = e.units;
      e.scales_per_unit = uint64_t{kPanelRows} * slab.groups();
      break;
    case Layout::channel:
      e = {slab.padded(), run_bytes(bits, rows), slab.groups(), rows};
      break;
  }
  return e;
}

}  // namespace minnow::format
