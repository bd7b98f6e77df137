#define MINNOW_VEC "kernels/common/vec_avx2.h"
#include "kernels/activation/body.h"

extern "C" void act_mul_f32__8_avx2(const ActivationArgs* args) {
  activation_body(args);
}
