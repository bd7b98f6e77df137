#define MINNOW_VEC "kernels/common/vec_avx2.h"
#include "kernels/threshold/body.h"

extern "C" void threshold_f32__8_avx2(const ThresholdArgs* args) {
  threshold_body(args);
}
