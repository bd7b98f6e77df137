#define MINNOW_VEC "kernels/common/vec_avx512.h"
#include "kernels/mean/body.h"

extern "C" void mean_f16_f32__16_avx512vnni(const MeanArgs* args) {
  mean_body(args);
}
