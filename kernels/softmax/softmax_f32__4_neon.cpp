#define MINNOW_VEC "kernels/common/vec_neon.h"
#include "kernels/softmax/body.h"

extern "C" void softmax_f32__4_neon(const SoftmaxArgs* args) {
  softmax_body(args);
}
