#define MINNOW_VEC "kernels/common/vec_neon.h"
#include "kernels/score/body.h"

extern "C" void score_f32_f16__4x16_neon(const ScoreArgs* args) {
  score_body(args);
}
