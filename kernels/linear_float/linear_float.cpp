#include "kernels/linear_float/linear_float.h"

#include "kernels/common/select.h"

static const LinearFloatKernel kVariants[] = {
#define MINNOW_KERNEL(op, symbol, isa) {LinearFloatOp::op, #symbol, symbol, isa},
#include "kernels/linear_float/variants.inc"
#undef MINNOW_KERNEL
};

const LinearFloatKernel* select_linear_float(LinearFloatOp op, uint32_t isa_mask) {
  return select_variant(kVariants, op, isa_mask);
}
