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

// Asks for a row whose place the hardware may not guess: other heads' rows lie between.
__attribute__((always_inline)) static inline void fetch_row(const void* rows, size_t row, size_t stride,
                                                            size_t bytes) {
  const char* start = (const char*)rows + row * stride;
  for (size_t at = 0; at < bytes; at += 64) v_prefetch(start + at);
}

}  // namespace
