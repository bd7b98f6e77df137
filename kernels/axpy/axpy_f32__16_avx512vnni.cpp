#define MINNOW_VEC "kernels/common/vec_avx512.h"
#include "kernels/axpy/body.h"

extern "C" void axpy_f32__16_avx512vnni(const AxpyArgs* args) {
  axpy_body(args);
}
