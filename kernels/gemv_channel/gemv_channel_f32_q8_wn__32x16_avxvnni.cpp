#define MINNOW_INT "kernels/common/int_avx2.h"
#include "kernels/gemv_channel/body.h"

extern "C" void gemv_channel_f32_q8_wn__32x16_avxvnni(const GemvChannelArgs* args) {
  gemv_channel_body(args);
}
