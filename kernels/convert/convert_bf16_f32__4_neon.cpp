#define MINNOW_VEC "kernels/common/vec_neon.h"
#include "kernels/convert/body.h"

extern "C" void convert_bf16_f32__4_neon(const ConvertArgs* args) {
  narrow_bf16_body(args);
}
