#include "kernels/axpy/axpy.h"

#include "kernels/common/select.h"

static const AxpyKernel kVariants[] = {
#define MINNOW_KERNEL(op, symbol, isa) {AxpyOp::op, #symbol, symbol, isa},
#include "kernels/axpy/variants.inc"
#undef MINNOW_KERNEL
};

const AxpyKernel* select_axpy(AxpyOp op, uint32_t isa_mask) {
  return select_variant(kVariants, op, isa_mask);
}
