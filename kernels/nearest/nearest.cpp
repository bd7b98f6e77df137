#include "kernels/nearest/nearest.h"

#include "kernels/common/select.h"

static const NearestKernel kVariants[] = {
#define MINNOW_KERNEL(op, symbol, isa) {NearestOp::op, #symbol, symbol, isa},
#include "kernels/nearest/variants.inc"
#undef MINNOW_KERNEL
};

const NearestKernel* select_nearest(NearestOp op, uint32_t isa_mask) {
  return select_variant(kVariants, op, isa_mask);
}
