// The reference: eight words an iteration.
#include "kernels/read_wall/read_wall.h"

extern "C" void read_sum__1_scalar(const ReadWallArgs* args) {
  const uint64_t* words = (const uint64_t*)args->data;
  uint64_t sum[8] = {0};
  for (size_t i = 0; i < args->bytes / 8; i += 8) {
    for (size_t lane = 0; lane < 8; ++lane) sum[lane] ^= words[i + lane];
  }
  uint64_t total = 0;
  for (size_t lane = 0; lane < 8; ++lane) total ^= sum[lane];
  *args->result = total;
}
