#define MINNOW_VEC "kernels/common/vec_avx2.h"
#include "kernels/weigh/body.h"

extern "C" void weigh_f32_f16__4x16_avx2(const WeighArgs* args) {
  weigh_body(args);
}
