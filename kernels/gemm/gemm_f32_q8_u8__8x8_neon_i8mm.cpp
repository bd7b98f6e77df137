#define MINNOW_INT "kernels/common/int_neon.h"
#define MINNOW_GEMM_VECTORS 2
#define MINNOW_GEMM_COLUMNS 8
#define MINNOW_GEMM_MATRIX 1
#include "kernels/gemm/body.h"

extern "C" void gemm_f32_q8_u8__8x8_neon_i8mm(const GemmArgs* args) {
  gemm_body(args);
}
