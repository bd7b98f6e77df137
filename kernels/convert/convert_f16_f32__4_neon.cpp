#define MINNOW_VEC "kernels/common/vec_neon.h"
#include "kernels/convert/body.h"

extern "C" void convert_f16_f32__4_neon(const ConvertArgs* args) {
  narrow_f16_body(args);
}
