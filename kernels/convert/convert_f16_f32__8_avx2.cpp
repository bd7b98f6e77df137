#define MINNOW_VEC "kernels/common/vec_avx2.h"
#include "kernels/convert/body.h"

extern "C" void convert_f16_f32__8_avx2(const ConvertArgs* args) {
  narrow_f16_body(args);
}
