#define MINNOW_VEC "kernels/common/vec_avx2.h"
#include "kernels/mean/body.h"

extern "C" void mean_f16_f32__8_avx2(const MeanArgs* args) {
  mean_body(args);
}
