#define MINNOW_VEC "kernels/common/vec_avx512.h"
#include "kernels/rope/body.h"

extern "C" void rope_f32__16_avx512vnni(const RopeArgs* args) {
  rope_body(args);
}
