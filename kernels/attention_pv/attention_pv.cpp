#include "kernels/attention_pv/attention_pv.h"

#include "kernels/common/select.h"

static const AttentionPvKernel kVariants[] = {
#define MINNOW_KERNEL(op, symbol, isa) {AttentionPvOp::op, #symbol, symbol, isa},
#include "kernels/attention_pv/variants.inc"
#undef MINNOW_KERNEL
};

const AttentionPvKernel* select_attention_pv(AttentionPvOp op, uint32_t isa_mask) {
  return select_variant(kVariants, op, isa_mask);
}
