#include "kernels/weigh/weigh.h"

#include "kernels/common/select.h"

static const WeighKernel kVariants[] = {
#define MINNOW_KERNEL(op, symbol, isa) {WeighOp::op, #symbol, symbol, isa},
#include "kernels/weigh/variants.inc"
#undef MINNOW_KERNEL
};

const WeighKernel* select_weigh(WeighOp op, uint32_t isa_mask) {
  return select_variant(kVariants, op, isa_mask);
}
