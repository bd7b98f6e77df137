// Portions of quantised linears: one column straight from the stored bytes, more of them through expanded
// tiles.
//
// Goals: knows layouts and slabs, not threads; the same bytes serve decode and prefill, and no second copy is
// kept.
#pragma once

#include <algorithm>
#include <cstddef>

#include "exec/workspace.h"
#include "model/plan.h"

namespace minnow::exec {

/// Outputs of a tile; portions of more than one column start at multiples of it.
inline constexpr size_t kTileRows = 128;
/// Portions of one column start at multiples of this.
inline constexpr size_t kRowStep = 16;
/// Steps of kRowStep outputs that a thread takes at least: small enough that threads finish together, large
/// enough that one is worth taking.
inline size_t row_grain(size_t steps, uint32_t threads) {
  return std::clamp<size_t>(steps / (size_t{threads} * 8), 1, 512 / kRowStep);
}
/// So many columns are still worth unpacking in registers for every four of them, where the layout allows
/// that. In the first-level cache both ways cost the same at 16 (docs/kernels.md).
inline constexpr size_t kFewColumns = 12;

/// Layouts that have no such kernels are read once a column up to here, a portion that the second-level cache
/// holds at a time: memory gives half of what that cache does, and expanding costs as much as three more
/// passes.
inline constexpr size_t kFewPasses = 6;
/// Whether a linear's columns go through run_channel_piece.
inline bool by_channel_pieces(const model::PlanLinear& linear, size_t columns) {
  return columns <= kFewPasses && linear.weights->layout == model::Layout::channel;
}

/// A slab as kernels take it.
QuantisedWeights view_of(const model::SlabWeights& slab);

/// Floats of a thread's tile scratch: expanded codes, scales, zeros.
size_t quantised_tile_floats();

/// Columns [m0, m1) of prepared inputs; y points at the first column of the chunk.
struct Columns {
  size_t m0, m1;
  float* y;
  size_t y_stride;
};

/// Outputs [n0, n1) for the columns, bias included. Not for by_channel_pieces().
void run_quantised(const model::Plan& plan, const Workspace& ws, const model::PlanLinear& linear, size_t n0,
                   size_t n1, const Columns& columns, uint32_t slot);

/// One column, row layout: the listed outputs, each times its factor. `rows` are `count` outputs.
void run_listed_rows(const model::Plan& plan, const Workspace& ws, const model::PlanLinear& linear,
                     const uint32_t* rows, size_t count, const float* factors, float* y);

/// `columns` columns, channel layout: piece `index` into its partial vectors. With masks, inputs of a single
/// column that are zero are not read, where enough of them are.
void run_channel_piece(const model::Plan& plan, const Workspace& ws, const model::PlanLinear& linear,
                       size_t index, size_t columns, uint32_t slot);
/// y = bias + all partial vectors, for each column.
void add_channel_pieces(const model::Plan& plan, const Workspace& ws, const model::PlanLinear& linear,
                        size_t columns, float* y, size_t y_stride);

}  // namespace minnow::exec
