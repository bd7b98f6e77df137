// Dots of int32 lanes as channel kernels take them (int_avx512.h has the meanings): for vocabularies whose
// product adds up four neighbouring bytes, which include it behind vi_load and dot.
#pragma once

static constexpr int kInterleave = 4;
static inline VecB vb_repeat(const int8_t* x) {
  return vb_quad(x);
}
static inline Dots dots_begin(const int32_t* sums) {
  return vi_load(sums);
}
static inline void dots_end(Dots dots, int32_t* sums) {
  vi_store(sums, dots);
}
static inline void vi_after_dots(VecI*) {}
