#define MINNOW_VEC "kernels/common/vec_neon.h"
#include "kernels/nearest/body.h"

extern "C" void nearest_u16_f32__2x16_neon(const NearestArgs* args) {
  nearest_body<2>(args);
}
