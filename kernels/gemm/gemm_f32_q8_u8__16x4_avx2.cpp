#define MINNOW_INT "kernels/common/int_avx2.h"
#define MINNOW_GEMM_VECTORS 2
#define MINNOW_GEMM_COLUMNS 4
#include "kernels/gemm/body.h"

extern "C" void gemm_f32_q8_u8__16x4_avx2(const GemmArgs* args) {
  gemm_body(args);
}
