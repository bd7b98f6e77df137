#include "kernels/rope/rope.h"

#include "kernels/common/select.h"

static const RopeKernel kVariants[] = {
#define MINNOW_KERNEL(op, symbol, isa) {RopeOp::op, #symbol, symbol, isa},
#include "kernels/rope/variants.inc"
#undef MINNOW_KERNEL
};

const RopeKernel* select_rope(RopeOp op, uint32_t isa_mask) {
  return select_variant(kVariants, op, isa_mask);
}
