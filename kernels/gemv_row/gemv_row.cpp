#include "kernels/gemv_row/gemv_row.h"

#include "kernels/common/select.h"

static const GemvRowKernel kVariants[] = {
#define MINNOW_KERNEL(op, symbol, isa) {GemvRowOp::op, #symbol, symbol, isa},
#include "kernels/gemv_row/variants.inc"
#undef MINNOW_KERNEL
};

const GemvRowKernel* select_gemv_row(GemvRowOp op, uint32_t isa_mask) {
  return select_variant(kVariants, op, isa_mask);
}
