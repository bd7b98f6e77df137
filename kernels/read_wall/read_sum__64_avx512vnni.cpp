#include <immintrin.h>

#include "kernels/read_wall/read_wall.h"

extern "C" void read_sum__64_avx512vnni(const ReadWallArgs* args) {
  const char* data = (const char*)args->data;
  __m512i sum[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                    _mm512_setzero_si512()};
  size_t at = 0;
  for (; at + 256 <= args->bytes; at += 256) {
    for (int u = 0; u < 4; ++u) sum[u] = _mm512_xor_si512(sum[u], _mm512_load_si512(data + at + 64 * u));
  }
  for (; at < args->bytes; at += 64) sum[0] = _mm512_xor_si512(sum[0], _mm512_load_si512(data + at));
  uint64_t words[8];
  _mm512_storeu_si512(words,
                      _mm512_xor_si512(_mm512_xor_si512(sum[0], sum[1]), _mm512_xor_si512(sum[2], sum[3])));
  uint64_t total = 0;
  for (int i = 0; i < 8; ++i) total ^= words[i];
  *args->result = total;
}
