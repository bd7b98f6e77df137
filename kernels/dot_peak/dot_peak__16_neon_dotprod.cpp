#define MINNOW_INT "kernels/common/int_neon.h"
#include "kernels/dot_peak/body.h"

extern "C" void dot_peak__16_neon_dotprod(const DotPeakArgs* args) {
  dot_peak_body(args);
}
