#define MINNOW_VEC "kernels/common/vec_neon.h"
#include "kernels/convert/body.h"

extern "C" void convert_f32_bf16__4_neon(const ConvertArgs* args) {
  widen_body<RowBf16>(args);
}
