#define MINNOW_VEC "kernels/common/vec_avx512.h"
#include "kernels/nearest/body.h"

extern "C" void nearest_u16_f32__2x64_avx512vnni(const NearestArgs* args) {
  nearest_body<2>(args);
}
