#define MINNOW_VEC "kernels/common/vec_avx512.h"
#include "kernels/norm/body.h"

extern "C" void rmsnorm_f32__16_avx512vnni(const NormArgs* args) {
  rmsnorm_body(args);
}
