#define MINNOW_VEC "kernels/common/vec_avx2.h"
#include "kernels/norm/body.h"

extern "C" void layernorm_f32__8_avx2(const NormArgs* args) {
  layernorm_body(args);
}
