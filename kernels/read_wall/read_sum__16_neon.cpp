#include <arm_neon.h>

#include "kernels/read_wall/read_wall.h"

extern "C" void read_sum__16_neon(const ReadWallArgs* args) {
  const uint64_t* data = (const uint64_t*)args->data;
  uint64x2_t sum[4] = {vdupq_n_u64(0), vdupq_n_u64(0), vdupq_n_u64(0), vdupq_n_u64(0)};
  for (size_t at = 0; at < args->bytes / 8; at += 8) {
    for (int u = 0; u < 4; ++u) sum[u] = veorq_u64(sum[u], vld1q_u64(data + at + 2 * u));
  }
  const uint64x2_t total = veorq_u64(veorq_u64(sum[0], sum[1]), veorq_u64(sum[2], sum[3]));
  *args->result = vgetq_lane_u64(total, 0) ^ vgetq_lane_u64(total, 1);
}
