#include "kernels/attention/attention.h"

#include "kernels/common/select.h"

static const AttentionKernel kVariants[] = {
#define MINNOW_KERNEL(op, symbol, isa) {AttentionOp::op, #symbol, symbol, isa},
#include "kernels/attention/variants.inc"
#undef MINNOW_KERNEL
};

const AttentionKernel* select_attention(AttentionOp op, uint32_t isa_mask) {
  return select_variant(kVariants, op, isa_mask);
}
