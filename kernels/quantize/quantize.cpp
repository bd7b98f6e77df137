#include "kernels/quantize/quantize.h"

#include "kernels/common/select.h"

static const QuantizeKernel kVariants[] = {
#define MINNOW_KERNEL(op, symbol, isa) {QuantizeOp::op, #symbol, symbol, isa},
#include "kernels/quantize/variants.inc"
#undef MINNOW_KERNEL
};

const QuantizeKernel* select_quantize(QuantizeOp op, uint32_t isa_mask) {
  return select_variant(kVariants, op, isa_mask);
}
