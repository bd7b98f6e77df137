#define MINNOW_VEC "kernels/common/vec_avx512.h"
#include "kernels/score/body.h"

extern "C" void score_f32_f16__8x32_avx512vnni(const ScoreArgs* args) {
  score_body(args);
}
