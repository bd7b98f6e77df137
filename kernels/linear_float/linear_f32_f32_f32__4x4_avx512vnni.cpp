#define MINNOW_VEC "kernels/common/vec_avx512.h"
#include "kernels/linear_float/body.h"

extern "C" void linear_f32_f32_f32__4x4_avx512vnni(const LinearFloatArgs* args) {
  linear_float_body<RowF32>(args);
}
