#define MINNOW_VEC "kernels/common/vec_avx2.h"
#include "kernels/linear_float/body.h"

extern "C" void linear_f32_f32_bf16__4x4_avx2(const LinearFloatArgs* args) {
  linear_float_body<RowBf16>(args);
}
