#define MINNOW_INT "kernels/common/int_avx2.h"
#include "kernels/gemv_panel/body.h"

extern "C" void gemv_panel_f32_q8_wn__16x32_avxvnni(const GemvPanelArgs* args) {
  gemv_panel_body(args);
}
