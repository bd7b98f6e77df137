#define MINNOW_VEC "kernels/common/vec_avx512.h"
#include "kernels/convert/body.h"

extern "C" void convert_f16_f32__16_avx512vnni(const ConvertArgs* args) {
  narrow_f16_body(args);
}
