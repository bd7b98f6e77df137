#define MINNOW_VEC "kernels/common/vec_avx2.h"
#include "kernels/score/body.h"

extern "C" void score_f32_f16__4x16_avx2(const ScoreArgs* args) {
  score_body(args);
}
