#include "kernels/gemm/gemm.h"

#include "kernels/common/select.h"

static const GemmKernel kVariants[] = {
#define MINNOW_KERNEL(op, symbol, isa) {GemmOp::op, #symbol, symbol, isa},
#include "kernels/gemm/variants.inc"
#undef MINNOW_KERNEL
};

const GemmKernel* select_gemm(GemmOp op, uint32_t isa_mask) {
  return select_variant(kVariants, op, isa_mask);
}
