#include "kernels/norm/norm.h"

#include "kernels/common/select.h"

static const NormKernel kVariants[] = {
#define MINNOW_KERNEL(op, symbol, isa) {NormOp::op, #symbol, symbol, isa},
#include "kernels/norm/variants.inc"
#undef MINNOW_KERNEL
};

const NormKernel* select_norm(NormOp op, uint32_t isa_mask) {
  return select_variant(kVariants, op, isa_mask);
}
