#define MINNOW_VEC "kernels/common/vec_neon.h"
#include "kernels/axpy/body.h"

extern "C" void axpy_f32__4_neon(const AxpyArgs* args) {
  axpy_body(args);
}
