#define MINNOW_VEC "kernels/common/vec_avx512.h"
#include "kernels/activation/body.h"

extern "C" void act_mul_f32__16_avx512vnni(const ActivationArgs* args) {
  activation_body(args);
}
