#include "kernels/mean/mean.h"

#include "kernels/common/select.h"

static const MeanKernel kVariants[] = {
#define MINNOW_KERNEL(op, symbol, isa) {MeanOp::op, #symbol, symbol, isa},
#include "kernels/mean/variants.inc"
#undef MINNOW_KERNEL
};

const MeanKernel* select_mean(MeanOp op, uint32_t isa_mask) {
  return select_variant(kVariants, op, isa_mask);
}
