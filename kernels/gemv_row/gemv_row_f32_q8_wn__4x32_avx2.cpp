#define MINNOW_INT "kernels/common/int_avx2.h"
#include "kernels/gemv_row/body.h"

extern "C" void gemv_row_f32_q8_wn__4x32_avx2(const GemvRowArgs* args) {
  gemv_row_body(args);
}
