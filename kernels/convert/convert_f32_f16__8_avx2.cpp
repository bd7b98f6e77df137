#define MINNOW_VEC "kernels/common/vec_avx2.h"
#include "kernels/convert/body.h"

extern "C" void convert_f32_f16__8_avx2(const ConvertArgs* args) {
  widen_body<RowF16>(args);
}
