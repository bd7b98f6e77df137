#define MINNOW_INT "kernels/common/int_neon.h"
#include "kernels/gemv_row/body.h"

extern "C" void gemv_row_f32_q8_wn__4x16_neon_dotprod(const GemvRowArgs* args) {
  gemv_row_body(args);
}
