#define MINNOW_VEC "kernels/common/vec_neon.h"
#include "kernels/norm/body.h"

extern "C" void rmsnorm_f32__4_neon(const NormArgs* args) {
  rmsnorm_body(args);
}
