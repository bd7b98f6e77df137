#define MINNOW_VEC "kernels/common/vec_neon.h"
#include "kernels/rope/body.h"

extern "C" void rope_f32__4_neon(const RopeArgs* args) {
  rope_body(args);
}
