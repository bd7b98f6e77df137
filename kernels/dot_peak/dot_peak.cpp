#include "kernels/dot_peak/dot_peak.h"

#include "kernels/common/select.h"

static const DotPeakKernel kVariants[] = {
#define MINNOW_KERNEL(op, symbol, isa) {DotPeakOp::op, #symbol, symbol, isa},
#include "kernels/dot_peak/variants.inc"
#undef MINNOW_KERNEL
};

const DotPeakKernel* select_dot_peak(DotPeakOp op, uint32_t isa_mask) {
  return select_variant(kVariants, op, isa_mask);
}
