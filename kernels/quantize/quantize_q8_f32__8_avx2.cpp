#define MINNOW_VEC "kernels/common/vec_avx2.h"
#include "kernels/quantize/body.h"

extern "C" void quantize_q8_f32__8_avx2(const QuantizeArgs* args) {
  quantize_body(args);
}
