#define MINNOW_INT "kernels/common/int_neon.h"
#define MINNOW_GEMM_VECTORS 4
#define MINNOW_GEMM_COLUMNS 4
#include "kernels/gemm/body.h"

extern "C" void gemm_f32_q8_u8__16x4_neon_dotprod(const GemmArgs* args) {
  gemm_body(args);
}
