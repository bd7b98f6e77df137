#define MINNOW_INT "kernels/common/int_avx2.h"
#include "kernels/dot_peak/body.h"

extern "C" void dot_peak__32_avxvnni(const DotPeakArgs* args) {
  dot_peak_body(args);
}
