#define MINNOW_VEC "kernels/common/vec_avx2.h"
#include "kernels/softmax/body.h"

extern "C" void softmax_f32__8_avx2(const SoftmaxArgs* args) {
  softmax_body(args);
}
