// sums[c][r] = sum_k column_c[k] * row_r[k]: four rows, one to four f32 columns.
// What linear_float is made of.
#pragma once

#include "kernels/common/vec_types.h"

namespace {

static constexpr int kTileRows = 4;
static constexpr int kTileColumns = 4;

// What a tile reads. k is a multiple of 32.
template <class Row>
struct DotTile {
  const typename Row::Element* rows[kTileRows];  // the last may repeat
  const char* rows_end;                          // of all rows: nothing is fetched ahead beyond it
  const float* x;
  size_t x_stride;
  size_t k;
};

// Few columns: memory is the limit, so row after row, as memory lies, fetching ahead.
template <class Row, int kColumns>
static inline void dot_rows(const DotTile<Row>* tile, float (*sums)[kTileRows]) {
  constexpr int kVectors = 32 / kLanes;
  constexpr int kUnroll =
      kTileAccumulators / kColumns < kVectors ? (kTileAccumulators / kColumns) & ~1 : kVectors;
  VecF totals[kColumns][kTileRows];
  for (int r = 0; r < kTileRows; ++r) {
    const typename Row::Element* row = tile->rows[r];
    VecF acc[kUnroll][kColumns];
    for (int u = 0; u < kUnroll; ++u) {
      for (int c = 0; c < kColumns; ++c) acc[u][c] = v_zero();
    }
    for (size_t i = 0; i < tile->k; i += 32) {
      const char* ahead = (const char*)(row + i) + kPrefetchBytes;
      if (ahead < tile->rows_end) {
        v_prefetch(ahead);
        if (sizeof(typename Row::Element) == 4) v_prefetch(ahead + 64);
      }
      for (int v = 0; v < kVectors; v += kUnroll) {
        for (int u = 0; u < kUnroll; ++u) {
          const size_t at = i + (size_t)(v + u) * kLanes;
          const VecF w = Row::load(row + at);
          for (int c = 0; c < kColumns; ++c) {
            acc[u][c] = v_fma(w, v_load(tile->x + (size_t)c * tile->x_stride + at), acc[u][c]);
          }
        }
      }
    }
    for (int c = 0; c < kColumns; ++c) {
      for (int u = 1; u < kUnroll; ++u) acc[0][c] = v_add(acc[0][c], acc[u][c]);
      totals[c][r] = acc[0][c];
    }
  }
  for (int c = 0; c < kColumns; ++c) v_hsum4(totals[c], sums[c]);
}

// Many columns: arithmetic is the limit, so four rows by as many columns as the registers hold, each loaded
// once.
template <class Row, int kColumns>
static inline void dot_block(const DotTile<Row>* tile, size_t first, float (*sums)[kTileRows]) {
  const float* x = tile->x + first * tile->x_stride;
  VecF acc[kColumns][kTileRows];
  for (int c = 0; c < kColumns; ++c) {
    for (int r = 0; r < kTileRows; ++r) acc[c][r] = v_zero();
  }
  for (size_t i = 0; i < tile->k; i += kLanes) {
    VecF w[kTileRows];
    for (int r = 0; r < kTileRows; ++r) w[r] = Row::load(tile->rows[r] + i);
    for (int c = 0; c < kColumns; ++c) {
      const VecF v = v_load(x + (size_t)c * tile->x_stride + i);
      for (int r = 0; r < kTileRows; ++r) acc[c][r] = v_fma(w[r], v, acc[c][r]);
    }
  }
  for (int c = 0; c < kColumns; ++c) v_hsum4(acc[c], sums[first + (size_t)c]);
}

template <class Row>
static inline void dot_few(const DotTile<Row>* tile, size_t columns, float (*sums)[kTileRows]) {
  switch (columns) {
    case 1:
      return dot_rows<Row, 1>(tile, sums);
    case 2:
      return dot_rows<Row, 2>(tile, sums);
    case 3:
      return dot_rows<Row, 3>(tile, sums);
    default:
      return dot_rows<Row, 4>(tile, sums);
  }
}

template <class Row>
static inline void dot_many(const DotTile<Row>* tile, size_t columns, float (*sums)[kTileRows]) {
  size_t c = 0;
  if (kTileAccumulators >= 16 && columns == 4) return dot_block<Row, 4>(tile, 0, sums);
  for (; c + 2 <= columns; c += 2) dot_block<Row, 2>(tile, c, sums);
  if (c < columns) dot_block<Row, 1>(tile, c, sums);
}

}  // namespace
