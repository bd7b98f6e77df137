#define MINNOW_VEC "kernels/common/vec_neon.h"
#include "kernels/linear_float/body.h"

extern "C" void linear_f32_f32_f16__4x4_neon(const LinearFloatArgs* args) {
  linear_float_body<RowF16>(args);
}
