#define MINNOW_VEC "kernels/common/vec_avx512.h"
#include "kernels/softmax/body.h"

extern "C" void softmax_f32__16_avx512vnni(const SoftmaxArgs* args) {
  softmax_body(args);
}
