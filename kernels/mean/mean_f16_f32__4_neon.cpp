#define MINNOW_VEC "kernels/common/vec_neon.h"
#include "kernels/mean/body.h"

extern "C" void mean_f16_f32__4_neon(const MeanArgs* args) {
  mean_body(args);
}
