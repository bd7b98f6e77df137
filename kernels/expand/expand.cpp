#include "kernels/expand/expand.h"

#include "kernels/common/select.h"

static const ExpandKernel kVariants[] = {
#define MINNOW_KERNEL(op, symbol, isa) {ExpandOp::op, #symbol, symbol, isa},
#include "kernels/expand/variants.inc"
#undef MINNOW_KERNEL
};

const ExpandKernel* select_expand(ExpandOp op, uint32_t isa_mask) {
  return select_variant(kVariants, op, isa_mask);
}
