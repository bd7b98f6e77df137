#include "kernels/read_wall/read_wall.h"

#include "kernels/common/select.h"

static const ReadWallKernel kVariants[] = {
#define MINNOW_KERNEL(op, symbol, isa) {ReadWallOp::op, #symbol, symbol, isa},
#include "kernels/read_wall/variants.inc"
#undef MINNOW_KERNEL
};

const ReadWallKernel* select_read_wall(ReadWallOp op, uint32_t isa_mask) {
  return select_variant(kVariants, op, isa_mask);
}
