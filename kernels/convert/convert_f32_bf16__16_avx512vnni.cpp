#define MINNOW_VEC "kernels/common/vec_avx512.h"
#include "kernels/convert/body.h"

extern "C" void convert_f32_bf16__16_avx512vnni(const ConvertArgs* args) {
  widen_body<RowBf16>(args);
}
