#define MINNOW_VEC "kernels/common/vec_avx512.h"
#include "kernels/quantize/body.h"

extern "C" void quantize_q8_f32__16_avx512vnni(const QuantizeArgs* args) {
  quantize_body(args);
}
