#include "kernels/softmax/softmax.h"

#include "kernels/common/select.h"

static const SoftmaxKernel kVariants[] = {
#define MINNOW_KERNEL(op, symbol, isa) {SoftmaxOp::op, #symbol, symbol, isa},
#include "kernels/softmax/variants.inc"
#undef MINNOW_KERNEL
};

const SoftmaxKernel* select_softmax(SoftmaxOp op, uint32_t isa_mask) {
  return select_variant(kVariants, op, isa_mask);
}
