#define MINNOW_INT "kernels/common/int_avx512.h"
#define MINNOW_GEMM_VECTORS 2
#define MINNOW_GEMM_COLUMNS 12
#include "kernels/gemm/body.h"

extern "C" void gemm_f32_q8_u8__32x12_avx512vnni(const GemmArgs* args) {
  gemm_body(args);
}
