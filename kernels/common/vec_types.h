// Element types of rows, as loaders of VecF. The ISA file names its vec_<isa>.h in MINNOW_VEC.
#pragma once

#include MINNOW_VEC

namespace {

struct RowF32 {
  typedef float Element;
  static inline VecF load(const float* p) { return v_load(p); }
};

struct RowF16 {
  typedef uint16_t Element;
  static inline VecF load(const uint16_t* p) { return v_load_f16(p); }
};

struct RowBf16 {
  typedef uint16_t Element;
  static inline VecF load(const uint16_t* p) { return v_load_bf16(p); }
};

struct RowI8 {
  typedef int8_t Element;
  static inline VecF load(const int8_t* p) { return v_load_i8(p); }
};

}  // namespace
