#define MINNOW_INT "kernels/common/int_avx512.h"
#include "kernels/dot_peak/body.h"

extern "C" void dot_peak__64_avx512vnni(const DotPeakArgs* args) {
  dot_peak_body(args);
}
