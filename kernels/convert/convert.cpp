#include "kernels/convert/convert.h"

#include "kernels/common/select.h"

static const ConvertKernel kVariants[] = {
#define MINNOW_KERNEL(op, symbol, isa) {ConvertOp::op, #symbol, symbol, isa},
#include "kernels/convert/variants.inc"
#undef MINNOW_KERNEL
};

const ConvertKernel* select_convert(ConvertOp op, uint32_t isa_mask) {
  return select_variant(kVariants, op, isa_mask);
}
