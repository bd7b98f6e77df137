// The body of the SIMD variants: blocks of four weight rows, all columns over a block while it is in the
// cache.
#pragma once

#include "kernels/common/dot_tile.h"
#include "kernels/linear_float/linear_float.h"

namespace {

template <class Row>
static inline void linear_float_body(const LinearFloatArgs* args) {
  typedef typename Row::Element Element;
  DotTile<Row> tile;
  tile.rows_end = (const char*)args->w + args->n1 * args->w_stride;
  tile.x_stride = args->x_stride;
  tile.k = args->k;
  for (size_t n = args->n0; n < args->n1; n += kTileRows) {
    const size_t count = args->n1 - n < kTileRows ? args->n1 - n : (size_t)kTileRows;
    for (size_t r = 0; r < kTileRows; ++r) {
      tile.rows[r] = (const Element*)((const char*)args->w + (n + (r < count ? r : 0)) * args->w_stride);
    }
    for (size_t m = 0; m < args->m; m += kTileColumns) {
      const size_t columns = args->m - m < kTileColumns ? args->m - m : (size_t)kTileColumns;
      float sums[kTileColumns][kTileRows];
      tile.x = args->x + m * args->x_stride;
      if (args->m <= kTileColumns) {
        dot_few(&tile, columns, sums);
      } else {
        dot_many(&tile, columns, sums);
      }
      for (size_t c = 0; c < columns; ++c) {
        float* y = args->y + (m + c) * args->y_stride + n;
        for (size_t r = 0; r < count; ++r) {
          const float start = args->accumulate ? y[r] : args->bias != nullptr ? args->bias[n + r] : 0.0f;
          y[r] = start + sums[c][r];
        }
      }
    }
  }
}

}  // namespace
