#define MINNOW_VEC "kernels/common/vec_avx2.h"
#include "kernels/rope/body.h"

extern "C" void rope_f32__8_avx2(const RopeArgs* args) {
  rope_body(args);
}
