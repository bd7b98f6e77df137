// The body of the SIMD variants: four keys by up to four heads, as in a linear layer whose weights are the
// keys.
#pragma once

#include "kernels/attention_qk/attention_qk.h"
#include "kernels/common/dot_tile.h"

namespace {

static constexpr size_t kAheadRows = 32;

template <class Row>
static inline void attention_qk_body(const AttentionQkArgs* args, bool scaled_rows) {
  typedef typename Row::Element Element;
  DotTile<Row> tile;
  tile.rows_end = nullptr;
  tile.x_stride = args->q_stride;
  tile.k = args->d;
  for (size_t p = args->p0; p < args->p1; p += kTileRows) {
    const size_t count = args->p1 - p < kTileRows ? args->p1 - p : (size_t)kTileRows;
    float scales[kTileRows];
    for (size_t r = 0; r < kTileRows; ++r) {
      const size_t row = p + (r < count ? r : 0);
      if (row + kAheadRows < args->p1)
        fetch_row(args->k, row + kAheadRows, args->row_stride, args->d * sizeof(Element));
      tile.rows[r] = (const Element*)((const char*)args->k + row * args->row_stride);
      scales[r] = args->scale;
      if (scaled_rows)
        scales[r] *= *(const float*)((const char*)args->row_scales + row * args->row_scale_stride);
    }
    for (size_t g = 0; g < args->heads; g += kTileColumns) {
      const size_t heads = args->heads - g < kTileColumns ? args->heads - g : (size_t)kTileColumns;
      float sums[kTileColumns][kTileRows];
      tile.x = args->q + g * args->q_stride;
      dot_many(&tile, heads, sums);
      for (size_t c = 0; c < heads; ++c) {
        float* scores = args->scores + (g + c) * args->scores_stride + p;
        for (size_t r = 0; r < count; ++r) scores[r] = scales[r] * sums[c][r];
      }
    }
  }
}

}  // namespace
