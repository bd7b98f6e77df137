#define MINNOW_VEC "kernels/common/vec_avx512.h"
#include "kernels/norm/body.h"

extern "C" void layernorm_f32__16_avx512vnni(const NormArgs* args) {
  layernorm_body(args);
}
