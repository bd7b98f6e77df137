// The reference: the contract, literally, summed in double.
#include "kernels/common/float_bits.h"
#include "kernels/score/score.h"

extern "C" void score_f32_f16__1x1_scalar(const ScoreArgs* args) {
  for (size_t g = 0; g < args->heads; ++g) {
    const float* q = args->q + g * args->q_stride;
    for (size_t m = 0; m < args->n; ++m) {
      const uint16_t* k = args->k + m / kScorePanel * args->dim * kScorePanel + m % kScorePanel;
      double sum = 0;
      for (size_t d = 0; d < args->dim; ++d) sum += (double)q[d] * (double)f32_of_f16(k[d * kScorePanel]);
      args->y[g * args->y_stride + m] = (float)sum;
    }
  }
}
