#define MINNOW_INT "kernels/common/int_avx512.h"
#include "kernels/expand/body.h"

extern "C" void expand_u8_wn__64_avx512vnni(const ExpandArgs* args) {
  expand_body(args);
}
