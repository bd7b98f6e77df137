#define MINNOW_VEC "kernels/common/vec_neon.h"
#include "kernels/activation/body.h"

extern "C" void act_mul_f32__4_neon(const ActivationArgs* args) {
  activation_body(args);
}
