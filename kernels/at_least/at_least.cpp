#include "kernels/at_least/at_least.h"

#include "kernels/common/select.h"

static const AtLeastKernel kVariants[] = {
#define MINNOW_KERNEL(op, symbol, isa) {AtLeastOp::op, #symbol, symbol, isa},
#include "kernels/at_least/variants.inc"
#undef MINNOW_KERNEL
};

const AtLeastKernel* select_at_least(AtLeastOp op, uint32_t isa_mask) {
  return select_variant(kVariants, op, isa_mask);
}
