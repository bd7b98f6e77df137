#define MINNOW_VEC "kernels/common/vec_avx2.h"
#include "kernels/nearest/body.h"

extern "C" void nearest_u16_f32__2x32_avx2(const NearestArgs* args) {
  nearest_body<2>(args);
}
