#pragma once

#include MINNOW_INT

#include "kernels/dot_peak/dot_peak.h"

namespace {

static inline void dot_peak_body(const DotPeakArgs* args) {
  constexpr int kSums = 12, kSteps = 8;
  Dots dots[kSums];
  VecI total = vi_zero();
  VecB codes = vb_set1(15), x = vb_set1(1);
  for (int i = 0; i < kSums; ++i) dots[i] = dots_zero();
  for (uint64_t r = 0; r < args->rounds; ++r) {
    for (int s = 0; s < kSteps; ++s) {
      asm volatile("" : "+m"(*(char*)args->count));  // products of one step are not those of the next
      for (int i = 0; i < kSums; ++i) dots[i] = dot(dots[i], codes, x);
    }
    if (!kDotsAreInt32) {
      for (int i = 0; i < kSums; ++i) {
        total = vi_add(total, dots_sum(dots[i]));
        dots[i] = dots_zero();
      }
    }
  }
  for (int i = 0; i < kSums; ++i) total = vi_add(total, dots_sum(dots[i]));
  int32_t lanes[kLanes];
  vi_store(lanes, total);
  *args->count = (uint64_t)(lanes[0] == 1) + args->rounds * kSums * kSteps * kUnits * 16;
}

}  // namespace
