#include "kernels/attention_qk/attention_qk.h"

#include "kernels/common/select.h"

static const AttentionQkKernel kVariants[] = {
#define MINNOW_KERNEL(op, symbol, isa) {AttentionQkOp::op, #symbol, symbol, isa},
#include "kernels/attention_qk/variants.inc"
#undef MINNOW_KERNEL
};

const AttentionQkKernel* select_attention_qk(AttentionQkOp op, uint32_t isa_mask) {
  return select_variant(kVariants, op, isa_mask);
}
