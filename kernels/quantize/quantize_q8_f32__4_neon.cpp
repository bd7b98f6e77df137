#define MINNOW_VEC "kernels/common/vec_neon.h"
#include "kernels/quantize/body.h"

extern "C" void quantize_q8_f32__4_neon(const QuantizeArgs* args) {
  quantize_body(args);
}
