#include "kernels/score/score.h"

#include "kernels/common/select.h"

static const ScoreKernel kVariants[] = {
#define MINNOW_KERNEL(op, symbol, isa) {ScoreOp::op, #symbol, symbol, isa},
#include "kernels/score/variants.inc"
#undef MINNOW_KERNEL
};

const ScoreKernel* select_score(ScoreOp op, uint32_t isa_mask) {
  return select_variant(kVariants, op, isa_mask);
}
