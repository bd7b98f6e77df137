#include "kernels/collect/collect.h"

#include "kernels/common/select.h"

static const CollectKernel kVariants[] = {
#define MINNOW_KERNEL(op, symbol, isa) {CollectOp::op, #symbol, symbol, isa},
#include "kernels/collect/variants.inc"
#undef MINNOW_KERNEL
};

const CollectKernel* select_collect(CollectOp op, uint32_t isa_mask) {
  return select_variant(kVariants, op, isa_mask);
}
