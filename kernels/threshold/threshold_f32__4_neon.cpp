#define MINNOW_VEC "kernels/common/vec_neon.h"
#include "kernels/threshold/body.h"

extern "C" void threshold_f32__4_neon(const ThresholdArgs* args) {
  threshold_body(args);
}
