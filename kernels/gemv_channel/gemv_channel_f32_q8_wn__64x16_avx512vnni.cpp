#define MINNOW_INT "kernels/common/int_avx512.h"
#include "kernels/gemv_channel/body.h"

extern "C" void gemv_channel_f32_q8_wn__64x16_avx512vnni(const GemvChannelArgs* args) {
  gemv_channel_body(args);
}
