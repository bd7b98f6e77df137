#define MINNOW_INT "kernels/common/int_neon.h"
#include "kernels/expand/body.h"

extern "C" void expand_u8_wn__16_neon(const ExpandArgs* args) {
  expand_body(args);
}
