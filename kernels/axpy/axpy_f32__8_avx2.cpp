#define MINNOW_VEC "kernels/common/vec_avx2.h"
#include "kernels/axpy/body.h"

extern "C" void axpy_f32__8_avx2(const AxpyArgs* args) {
  axpy_body(args);
}
