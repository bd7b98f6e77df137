#include "kernels/gemv_panel/gemv_panel.h"

#include "kernels/common/select.h"

static const GemvPanelKernel kVariants[] = {
#define MINNOW_KERNEL(op, symbol, isa) {GemvPanelOp::op, #symbol, symbol, isa},
#include "kernels/gemv_panel/variants.inc"
#undef MINNOW_KERNEL
};

const GemvPanelKernel* select_gemv_panel(GemvPanelOp op, uint32_t isa_mask) {
  return select_variant(kVariants, op, isa_mask);
}
