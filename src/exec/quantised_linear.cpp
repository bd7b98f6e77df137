#include "exec/quantised_linear.h"

#include <algorithm>

namespace minnow::exec {
namespace {

using model::InputForm;
using model::InputPiece;
using model::Layout;
using model::LinearWeights;
using model::Plan;
using model::PlanLinear;
using model::SlabWeights;

/// Channels expanded at a time. 512 and 1,024, which would fit a first-level cache, were 3 % slower.
constexpr size_t kTileChannels = 2048;
constexpr size_t kTileGroups = kTileChannels / 32;

/// Prepared inputs of one slab from column m and channel k on.
QuantisedInput input_of(const Workspace& ws, const InputForm& form, const InputPiece& piece, size_t m,
                        size_t k) {
  QuantisedInput x{};
  x.codes = ws.input_codes + m * form.codes + piece.offset + k;
  x.stride = form.codes;
  const size_t at = m * form.groups + piece.group_offset + k / piece.group;
  x.scales = ws.input_scales + at;
  x.zs = ws.input_zs + at;
  x.group_stride = form.groups;
  return x;
}

float* partial_of(const Workspace& ws, const PlanLinear& linear, size_t column, size_t piece) {
  return ws.channel_partials + (column * linear.pieces.size() + piece) * ws.partial_stride;
}

/// Rows [n0, n1) times columns, straight from the stored bytes: row layout in as many passes.
void run_direct(const Plan& plan, const Workspace& ws, const PlanLinear& linear, size_t n0, size_t n1,
                const Columns& c) {
  const LinearWeights& w = *linear.weights;
  const InputForm& form = plan.forms[linear.form];
  for (size_t i = 0; i < w.slabs.size(); ++i) {
    const SlabWeights& s = w.slabs[i];
    if (w.layout == Layout::panel) {
      const QuantisedInput x = input_of(ws, form, form.pieces[i], c.m0, 0);
      float* y = c.y + c.m0 * c.y_stride;
      const GemvPanelArgs args{view_of(s), x, w.bias, y, c.y_stride, c.m1 - c.m0, n0, n1, s.padded, i > 0};
      plan.kernels.gemv_panel->fn(&args);
      continue;
    }
    const size_t pass = c.m1 - c.m0 == 1 ? n1 - n0 : kTileRows;
    for (size_t n = n0; n < n1; n += pass) {
      for (size_t m = c.m0; m < c.m1; ++m) {
        const GemvRowArgs args{view_of(s), input_of(ws, form, form.pieces[i], m, 0),
                               w.bias,     c.y + m * c.y_stride,
                               n,          std::min(n1, n + pass),
                               s.padded,   i > 0,
                               nullptr,    nullptr};
        plan.kernels.gemv_row->fn(&args);
      }
    }
  }
}

/// The same through tiles of plain bytes.
void run_tiles(const Plan& plan, const Workspace& ws, const PlanLinear& linear, size_t n0, size_t n1,
               const Columns& c, uint32_t slot) {
  const LinearWeights& w = *linear.weights;
  const InputForm& form = plan.forms[linear.form];
  auto* codes = reinterpret_cast<uint8_t*>(ws.tile_of(slot));
  float* scales = reinterpret_cast<float*>(codes + kTileRows * kTileChannels);
  float* zeros = scales + kTileRows * kTileGroups;
  for (size_t n = n0; n < n1; n += kTileRows) {
    const size_t count = std::min(kTileRows, n1 - n);
    bool first = true;
    for (size_t i = 0; i < w.slabs.size(); ++i) {
      const SlabWeights& s = w.slabs[i];
      for (size_t k = 0; k < s.padded; k += kTileChannels) {
        ExpandArgs e{};
        e.w = view_of(s);
        e.layout = w.layout == Layout::row     ? ExpandLayout::row
                   : w.layout == Layout::panel ? ExpandLayout::panel
                                               : ExpandLayout::channel;
        e.n = w.rows, e.channels = s.padded;
        e.n0 = n, e.rows = (count + kPanelOutputs - 1) / kPanelOutputs * kPanelOutputs;
        e.k0 = k, e.k1 = std::min<size_t>(s.padded, k + kTileChannels);
        e.codes = codes, e.scales = scales, e.zeros = zeros;
        plan.kernels.expand->fn(&e);

        GemmArgs g{};
        g.codes = codes, g.scales = scales, g.zeros = zeros;
        g.rows = e.rows, g.k = e.k1 - e.k0, g.group = s.group, g.bits = e.w.bits;
        g.x = input_of(ws, form, form.pieces[i], c.m0, k);
        g.m = c.m1 - c.m0, g.n = count;
        g.bias = w.bias != nullptr ? w.bias + n : nullptr;
        g.y = c.y + c.m0 * c.y_stride + n, g.y_stride = c.y_stride;
        g.accumulate = !first;
        plan.kernels.gemm->fn(&g);
        first = false;
      }
    }
  }
}

}  // namespace

QuantisedWeights view_of(const SlabWeights& s) {
  QuantisedWeights w{};
  w.bits = static_cast<int>(format::bits_of(s.code));
  w.group = s.group;
  w.codes = s.codes, w.stride = s.code_stride;
  w.scales = reinterpret_cast<const uint16_t*>(s.scales), w.scale_stride = s.scale_stride;
  w.zeros = s.zeros, w.zero_stride = s.zero_stride;
  return w;
}

size_t quantised_tile_floats() {
  return kTileRows * kTileChannels / sizeof(float) + 2 * kTileRows * kTileGroups;
}

void run_quantised(const Plan& plan, const Workspace& ws, const PlanLinear& linear, size_t n0, size_t n1,
                   const Columns& columns, uint32_t slot) {
  const size_t m = columns.m1 - columns.m0;
  const Layout layout = linear.weights->layout;
  const bool direct =
      (layout == Layout::panel && m <= kFewColumns) || (layout == Layout::row && m <= kFewPasses);
  if (direct)
    run_direct(plan, ws, linear, n0, n1, columns);
  else
    run_tiles(plan, ws, linear, n0, n1, columns, slot);
}

void run_listed_rows(const Plan& plan, const Workspace& ws, const PlanLinear& linear, const uint32_t* rows,
                     size_t count, const float* factors, float* y) {
  const LinearWeights& w = *linear.weights;
  const InputForm& form = plan.forms[linear.form];
  for (size_t i = 0; i < w.slabs.size(); ++i) {
    const SlabWeights& s = w.slabs[i];
    const bool last = i + 1 == w.slabs.size();
    const GemvRowArgs args{view_of(s), input_of(ws, form, form.pieces[i], 0, 0),
                           w.bias,     y,
                           0,          count,
                           s.padded,   i > 0,
                           rows,       last ? factors : nullptr};
    plan.kernels.gemv_row->fn(&args);
  }
}

void run_channel_piece(const Plan& plan, const Workspace& ws, const PlanLinear& linear, size_t index,
                       size_t columns, uint32_t slot) {
  constexpr uint32_t kPass = 128;  // channels of a pass: a multiple of every group
  const LinearWeights& w = *linear.weights;
  const model::ChannelPiece& piece = linear.pieces[index];
  const SlabWeights& s = w.slabs[piece.slab];
  const InputForm& form = plan.forms[linear.form];
  GemvChannelArgs args{};
  args.w = view_of(s);
  args.sums = ws.channel_sums + slot * ws.partial_stride;
  args.n = w.rows;
  if (columns == 1 && ws.masking.skip && form.thresholds != nullptr) {
    const uint32_t* starts = ws.input_starts + form.pieces[piece.slab].group_offset + piece.slab;
    const uint32_t end = std::min(piece.k1, s.count);
    const uint32_t kept = starts[(end + s.group - 1) / s.group] - starts[piece.k0 / s.group];
    if (ws.listing.channels_worth(kept, end - piece.k0)) {
      args.list = ws.inputs, args.starts = starts;
      ws.bytes_skipped->fetch_add((end - piece.k0 - kept) * s.code_stride, std::memory_order_relaxed);
    }
  }
  const uint32_t pass = columns == 1 ? piece.k1 - piece.k0 : kPass;
  for (uint32_t k = piece.k0; k < piece.k1; k += pass) {
    args.k0 = k, args.k1 = std::min(piece.k1, k + pass), args.accumulate = k > piece.k0;
    for (size_t m = 0; m < columns; ++m) {
      args.x = input_of(ws, form, form.pieces[piece.slab], m, 0);
      args.y = partial_of(ws, linear, m, index);
      plan.kernels.gemv_channel->fn(&args);
    }
  }
}

void add_channel_pieces(const Plan& plan, const Workspace& ws, const PlanLinear& linear, size_t columns,
                        float* y, size_t y_stride) {
  const LinearWeights& w = *linear.weights;
  for (size_t m = 0; m < columns; ++m, y += y_stride) {
    for (size_t i = 0; i < linear.pieces.size(); ++i) {
      const AxpyArgs args{partial_of(ws, linear, m, i), y, w.rows, 1.0f, i == 0 ? 0.0f : 1.0f};
      plan.kernels.axpy->fn(&args);
    }
    if (w.bias == nullptr) continue;
    const AxpyArgs args{w.bias, y, w.rows, 1.0f, 1.0f};
    plan.kernels.axpy->fn(&args);
  }
}

}  // namespace minnow::exec
