#include "kernels/linear_q8/linear_q8.h"

#include "kernels/common/select.h"

static const LinearQ8Kernel kVariants[] = {
#define MINNOW_KERNEL(op, symbol, isa) {LinearQ8Op::op, #symbol, symbol, isa},
#include "kernels/linear_q8/variants.inc"
#undef MINNOW_KERNEL
};

const LinearQ8Kernel* select_linear_q8(LinearQ8Op op, uint32_t isa_mask) {
  return select_variant(kVariants, op, isa_mask);
}
