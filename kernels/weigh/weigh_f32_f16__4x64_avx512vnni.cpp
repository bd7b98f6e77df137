#define MINNOW_VEC "kernels/common/vec_avx512.h"
#include "kernels/weigh/body.h"

extern "C" void weigh_f32_f16__4x64_avx512vnni(const WeighArgs* args) {
  weigh_body(args);
}
