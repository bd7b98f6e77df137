#define MINNOW_INT "kernels/common/int_neon.h"
#include "kernels/gemv_channel/body.h"

extern "C" void gemv_channel_f32_q8_wn__16x16_neon(const GemvChannelArgs* args) {
  gemv_channel_body(args);
}
