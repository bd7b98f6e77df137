#define MINNOW_INT "kernels/common/int_avx2.h"
#include "kernels/expand/body.h"

extern "C" void expand_u8_wn__32_avx2(const ExpandArgs* args) {
  expand_body(args);
}
