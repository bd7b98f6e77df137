#include <immintrin.h>

#include "kernels/read_wall/read_wall.h"

extern "C" void read_sum__32_avx2(const ReadWallArgs* args) {
  const char* data = (const char*)args->data;
  __m256i sum[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  for (size_t at = 0; at < args->bytes; at += 64) {
    for (int u = 0; u < 2; ++u) {
      sum[u] = _mm256_xor_si256(sum[u], _mm256_load_si256((const __m256i*)(data + at + 32 * u)));
    }
  }
  uint64_t words[4];
  _mm256_storeu_si256((__m256i*)words, _mm256_xor_si256(sum[0], sum[1]));
  *args->result = words[0] ^ words[1] ^ words[2] ^ words[3];
}
