#define MINNOW_VEC "kernels/common/vec_neon.h"
#include "kernels/weigh/body.h"

extern "C" void weigh_f32_f16__4x16_neon(const WeighArgs* args) {
  weigh_body(args);
}
