#include "kernels/threshold/threshold.h"

#include "kernels/common/select.h"

static const ThresholdKernel kVariants[] = {
#define MINNOW_KERNEL(op, symbol, isa) {ThresholdOp::op, #symbol, symbol, isa},
#include "kernels/threshold/variants.inc"
#undef MINNOW_KERNEL
};

const ThresholdKernel* select_threshold(ThresholdOp op, uint32_t isa_mask) {
  return select_variant(kVariants, op, isa_mask);
}
