#include "kernels/activation/activation.h"

#include "kernels/common/select.h"

static const ActivationKernel kVariants[] = {
#define MINNOW_KERNEL(op, symbol, isa) {ActivationOp::op, #symbol, symbol, isa},
#include "kernels/activation/variants.inc"
#undef MINNOW_KERNEL
};

const ActivationKernel* select_activation(ActivationOp op, uint32_t isa_mask) {
  return select_variant(kVariants, op, isa_mask);
}
