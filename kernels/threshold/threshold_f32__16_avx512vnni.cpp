#define MINNOW_VEC "kernels/common/vec_avx512.h"
#include "kernels/threshold/body.h"

extern "C" void threshold_f32__16_avx512vnni(const ThresholdArgs* args) {
  threshold_body(args);
}
