#include "kernels/gemv_channel/gemv_channel.h"

#include "kernels/common/select.h"

static const GemvChannelKernel kVariants[] = {
#define MINNOW_KERNEL(op, symbol, isa) {GemvChannelOp::op, #symbol, symbol, isa},
#include "kernels/gemv_channel/variants.inc"
#undef MINNOW_KERNEL
};

const GemvChannelKernel* select_gemv_channel(GemvChannelOp op, uint32_t isa_mask) {
  return select_variant(kVariants, op, isa_mask);
}
