#include "exec/linear.h"

#include <algorithm>
#include <span>

#include "base/checked.h"
#include "exec/float_gemm.h"
#include "exec/quantised_linear.h"

namespace minnow::exec {
namespace {

using model::InputForm;
using model::InputPiece;
using model::Layout;
using model::Plan;
using model::SlabWeights;

/// Whether linears of this form read the activations as they lie.
bool as_they_lie(const InputForm& form, const Workspace& ws) {
  return form.direct() || (form.floats_only() && form.order == nullptr && !ws.masking.on);
}

/// Channels of one piece in slab order with the small ones zeroed. Of a single token, what is kept of each
/// group is listed too (coded pieces only). Returns how many are kept.
size_t mask_piece(const Plan& plan, const Workspace& ws, const InputForm& form, size_t index,
                  const float* from, float* to, bool list, size_t listed) {
  const InputPiece& p = form.pieces[index];
  const float* x = from + p.first;
  if (form.order != nullptr) {
    for (uint32_t i = 0; i < p.count; ++i) to[i] = from[form.order[p.first + i]];
    x = to;
  }
  uint32_t* starts = ws.input_starts + p.group_offset + index;
  const uint32_t step = list ? p.group : p.count;
  size_t total = 0;
  for (uint32_t i = 0; i < p.count; i += step) {
    if (list) starts[i / step] = static_cast<uint32_t>(listed + total);
    size_t kept = 0;
    const ThresholdArgs args{x + i,
                             form.thresholds + p.first + i,
                             ws.masking.scale,
                             to + i,
                             list ? ws.inputs + listed + total : nullptr,
                             i,
                             std::min(step, p.count - i),
                             &kept};
    plan.kernels.threshold->fn(&args);
    total += kept;
  }
  if (list) starts[(p.count + step - 1) / step] = static_cast<uint32_t>(listed + total);
  return total;
}

/// Brings rows [r0, r1) of x into the form: float pieces gathered, coded pieces quantised, zeros behind them.
/// Returns how many inputs were kept, where the form has thresholds and they are on.
size_t prepare(const Plan& plan, const Workspace& ws, const InputForm& form, const float* x, size_t x_stride,
               size_t r0, size_t r1, bool list, uint32_t slot) {
  int32_t* sums = ws.input_sums + slot * plan.input.groups;
  const bool masking = ws.masking.on && form.thresholds != nullptr;
  size_t kept = 0;
  for (size_t r = r0; r < r1; ++r) {
    const float* from = x + r * x_stride;
    size_t listed = 0;
    for (size_t piece = 0; piece < form.pieces.size(); ++piece) {
      const InputPiece& p = form.pieces[piece];
      const uint32_t* order = form.order == nullptr ? nullptr : form.order + p.first;
      float* masked = p.group == 0 ? ws.input + r * form.floats + p.offset : ws.masked_of(slot);
      if (masking) {
        listed += mask_piece(plan, ws, form, piece, from, masked, list && p.group != 0, listed);
        if (p.group == 0) {
          std::fill(masked + p.count, masked + p.padded, 0.0f);
          continue;
        }
      }
      if (p.group == 0) {
        float* to = ws.input + r * form.floats + p.offset;
        for (uint32_t i = 0; i < p.count; ++i) to[i] = from[order != nullptr ? order[i] : p.first + i];
        std::fill(to + p.count, to + p.padded, 0.0f);
        continue;
      }
      int8_t* codes = ws.input_codes + r * form.codes;
      float* scales = ws.input_scales + r * form.groups;
      float* zs = ws.input_zs + r * form.groups;
      QuantizeArgs a{};
      a.x = masking ? masked : from + (order == nullptr ? p.first : 0);
      a.gather = masking ? nullptr : order;
      a.q = codes + p.offset, a.scale = scales + p.group_offset, a.sum = sums;
      a.m = 1, a.k = p.count, a.k_padded = p.padded, a.group = p.group;
      plan.kernels.quantize->fn(&a);
      for (uint32_t g = 0; g < p.groups; ++g)
        zs[p.group_offset + g] = scales[p.group_offset + g] * static_cast<float>(sums[g]);
      std::fill(codes + p.offset + p.padded, codes + p.codes_end, int8_t{0});
      std::fill(scales + p.group_offset + p.groups, scales + p.groups_end, 0.0f);
      std::fill(zs + p.group_offset + p.groups, zs + p.groups_end, 0.0f);
    }
    kept += listed;
  }
  return kept;
}

/// For calls that all read the same form.
void prepare(const Plan& plan, const Workspace& ws, ThreadPool& pool, std::span<const LinearCall> calls,
             const float* x, size_t x_stride, size_t m) {
  const InputForm& form = plan.forms[calls.front().linear->form];
  if (as_they_lie(form, ws)) return;
  pool.parallel_for(m, 4, [&](size_t r0, size_t r1, uint32_t slot) {
    const size_t kept = prepare(plan, ws, form, x, x_stride, r0, r1, ws.masking.skip, slot);
    if (!ws.masking.on) return;
    for (const LinearCall& call : calls) {
      if (call.linear->mask >= 0) ws.kept[call.linear->mask].fetch_add(kept, std::memory_order_relaxed);
    }
  });
}

/// What a parallel region over linears knows.
struct Region {
  const Plan& plan;
  const Workspace& ws;
  const float* x;
  size_t x_stride, m;
};

/// Outputs [n0, n1) of a linear of floats for columns [m0, m1); the first slab stores, the others add.
void run_floats(const Region& r, const LinearCall& call, size_t n0, size_t n1, size_t m0, size_t m1,
                uint32_t slot) {
  const model::LinearWeights& w = *call.linear->weights;
  const InputForm& form = r.plan.forms[call.linear->form];
  const model::KernelSet& kernels = r.plan.kernels;
  const bool direct = as_they_lie(form, r.ws);
  const float* x = direct ? r.x + m0 * r.x_stride : r.ws.input + m0 * form.floats;
  const size_t x_stride = direct ? r.x_stride : form.floats;
  float* y = call.y + m0 * call.y_stride;
  const size_t m = m1 - m0;
  if (form.floats_only() && r.plan.use_xnnpack && r.m >= kGemmMinRows &&
      float_gemm(w, kernels, x, x_stride, m, y, call.y_stride, n0, n1, r.ws.tile_of(slot))) {
    return;
  }
  for (size_t i = 0; i < w.slabs.size(); ++i) {
    const SlabWeights& s = w.slabs[i];
    LinearFloatArgs a{};
    a.x = x + form.pieces[i].offset;
    a.x_stride = x_stride;
    a.w = s.codes, a.w_stride = s.code_stride;
    a.bias = w.bias;
    a.y = y, a.y_stride = call.y_stride;
    a.m = m, a.n0 = n0, a.n1 = n1, a.k = s.padded;
    a.accumulate = i > 0;
    const auto* kernel = s.code == model::CodeType::f32   ? kernels.linear_f32
                         : s.code == model::CodeType::f16 ? kernels.linear_f16
                                                          : kernels.linear_bf16;
    kernel->fn(&a);
  }
}

void run_outputs(const Region& r, const LinearCall& call, size_t n0, size_t n1, size_t m0, size_t m1,
                 uint32_t slot) {
  if (call.linear->weights->slabs.front().group == 0) return run_floats(r, call, n0, n1, m0, m1, slot);
  run_quantised(r.plan, r.ws, *call.linear, n0, n1, {m0, m1, call.y, call.y_stride}, slot);
}

/// How the outputs of a region are cut: steps of `step` outputs, and columns in `parts`.
struct Cut {
  size_t step, grain, parts;
};

/// Pieces small enough that threads finish together, large enough that one is worth taking. Products so small
/// that waking threads costs more stay with the caller.
Cut cut_of(size_t outputs, size_t cols, size_t m, uint32_t threads) {
  constexpr size_t kWorthSharing = size_t{1} << 16;  // multiplications: some microseconds of one core
  constexpr size_t kLeastColumns = 64;               // of a part: weights are expanded once for each
  Cut cut{m == 1 ? kRowStep : kTileRows, 1, 1};
  const size_t steps = (outputs + cut.step - 1) / cut.step;
  if (outputs * cols * m < kWorthSharing) {
    cut.grain = steps;
  } else if (m == 1) {
    cut.grain = row_grain(steps, threads);
  } else if (threads > 1) {
    const size_t wanted = (size_t{threads} * 4 + steps - 1) / steps;
    cut.parts = std::clamp<size_t>(wanted, 1, std::max<size_t>(1, m / kLeastColumns));
  }
  return cut;
}

size_t column_of(size_t m, size_t parts, size_t part) {
  return part == parts ? m : m * part / parts;
}

/// One region over all outputs of the calls: none of them by_channel_pieces().
void run_region(const Region& r, ThreadPool& pool, std::span<const LinearCall> calls) {
  const size_t cols = calls.front().linear->weights->cols;
  size_t outputs = 0;
  for (const LinearCall& call : calls) outputs += call.linear->weights->rows;
  const Cut cut = cut_of(outputs, cols, r.m, pool.threads());
  size_t steps = 0;
  for (const LinearCall& call : calls) steps += ceil_div(size_t{call.linear->weights->rows}, cut.step);
  pool.parallel_for(steps * cut.parts, cut.grain, [&](size_t begin, size_t end, uint32_t slot) {
    while (begin < end) {
      const size_t part = begin / steps, first = begin % steps, last = std::min(steps, first + (end - begin));
      const size_t m0 = column_of(r.m, cut.parts, part), m1 = column_of(r.m, cut.parts, part + 1);
      size_t offset = 0;
      for (const LinearCall& call : calls) {
        const size_t rows = call.linear->weights->rows, own = ceil_div(rows, cut.step);
        const size_t s0 = std::max(first, offset), s1 = std::min(last, offset + own);
        if (s0 < s1) {
          run_outputs(r, call, (s0 - offset) * cut.step, std::min(rows, (s1 - offset) * cut.step), m0, m1,
                      slot);
        }
        offset += own;
      }
      begin += last - first;
    }
  });
}

void run_channels(const Region& r, ThreadPool& pool, const LinearCall& call) {
  const model::PlanLinear& linear = *call.linear;
  const size_t pieces = linear.pieces.size();
  const bool small = linear.weights->weight_count() < (size_t{1} << 16);
  const auto run = [&](size_t begin, size_t end, uint32_t slot) {
    for (size_t i = begin; i < end; ++i) run_channel_piece(r.plan, r.ws, linear, i, r.m, slot);
  };
  if (small)
    run(0, pieces, 0);
  else
    pool.parallel_for_each(pieces, run);
  add_channel_pieces(r.plan, r.ws, linear, r.m, call.y, call.y_stride);
}

/// g = act(g), small ones zeroed; the others are listed, as rows of `up`, where there is a list. Outputs [n0,
/// n1).
size_t mask_gates(const Plan& plan, const Workspace& ws, float* g, size_t n0, size_t n1,
                  Activation activation, const GateMask& mask, uint32_t* list) {
  size_t kept = 0;
  const ActivationArgs act{g, nullptr, g, n1 - n0, activation};
  plan.kernels.activation->fn(&act);
  const ThresholdArgs args{g,    mask.thresholds + n0,      ws.masking.scale, g,
                           list, static_cast<uint32_t>(n0), n1 - n0,          &kept};
  plan.kernels.threshold->fn(&args);
  ws.kept[mask.index].fetch_add(kept, std::memory_order_relaxed);
  return kept;
}

/// gate.y = act(gate) * up for outputs [n0, n1), of which the gates' products are there: rows of up are read
/// where the gate is kept.
void run_kept_neurons(const Region& r, const LinearCall& gate, const LinearCall& up, size_t n0, size_t n1,
                      Activation activation, const GateMask& mask) {
  uint32_t* list = r.ws.neurons + n0;
  const size_t kept = mask_gates(r.plan, r.ws, gate.y + n0, n0, n1, activation, mask, list);
  if (!r.ws.listing.rows_worth(kept, n1 - n0)) {
    run_quantised(r.plan, r.ws, *up.linear, n0, n1, {0, 1, up.y, up.y_stride}, 0);
    const ActivationArgs product{gate.y + n0, up.y + n0, gate.y + n0, n1 - n0, Activation::identity};
    r.plan.kernels.activation->fn(&product);
    return;
  }
  // The others stay zero, as the mask left them.
  run_listed_rows(r.plan, r.ws, *up.linear, list, kept, gate.y, up.y);
  for (size_t i = 0; i < kept; ++i) gate.y[list[i]] = up.y[list[i]];
  r.ws.bytes_skipped->fetch_add((n1 - n0 - kept) * up.linear->weights->bytes() / up.linear->weights->rows,
                                std::memory_order_relaxed);
}

}  // namespace

void run_linears(const Plan& plan, const Workspace& ws, ThreadPool& pool, const float* x, size_t x_stride,
                 size_t m, std::initializer_list<LinearCall> calls) {
  const Region region{plan, ws, x, x_stride, m};
  const auto by_channels = [&](const LinearCall& c) { return by_channel_pieces(*c.linear, m); };
  for (const LinearCall* first = calls.begin(); first != calls.end();) {
    const LinearCall* last = first;
    while (last != calls.end() && last->linear->form == first->linear->form) ++last;
    prepare(plan, ws, pool, {first, last}, x, x_stride, m);
    for (const LinearCall* at = first; at != last;) {
      const LinearCall* end = at + 1;
      if (by_channels(*at)) {
        run_channels(region, pool, *at);
      } else {
        while (end != last && !by_channels(*end)) ++end;
        run_region(region, pool, {at, end});
      }
      at = end;
    }
    first = last;
  }
}

void run_gated(const Plan& plan, const Workspace& ws, ThreadPool& pool, const float* x, size_t x_stride,
               size_t m, const LinearCall& gate, const LinearCall& up, Activation activation,
               const GateMask& mask) {
  const size_t rows = up.linear->weights->rows;
  const bool masking = ws.masking.on && mask.thresholds != nullptr;
  const auto activate = [&](size_t n0, size_t n1, size_t m0, size_t m1) {
    for (size_t c = m0; c < m1; ++c) {
      float* u = up.y + c * up.y_stride + n0;
      float* g = *gate.linear ? gate.y + c * gate.y_stride + n0 : u;
      if (masking) {
        mask_gates(plan, ws, g, n0, n1, activation, mask, nullptr);
        const ActivationArgs product{g, u, g, n1 - n0, Activation::identity};
        plan.kernels.activation->fn(&product);
        continue;
      }
      const ActivationArgs args{g, *gate.linear ? u : nullptr, g, n1 - n0, activation};
      plan.kernels.activation->fn(&args);
    }
  };
  const auto channels = [&](const LinearCall& c) { return by_channel_pieces(*c.linear, m); };
  const bool together =
      !channels(up) && (!*gate.linear || (gate.linear->form == up.linear->form && !channels(gate)));
  const bool listed = masking && ws.masking.skip && up.linear->weights->layout == Layout::row &&
                      up.linear->weights->slabs.front().group != 0;
  const Region region{plan, ws, x, x_stride, m};
  if (!together && listed) {
    run_linears(plan, ws, pool, x, x_stride, m, {gate});
    prepare(plan, ws, pool, std::span(&up, 1), x, x_stride, m);
    const Cut cut = cut_of(rows, up.linear->weights->cols, m, pool.threads());
    return pool.parallel_for(ceil_div(rows, cut.step), cut.grain, [&](size_t begin, size_t end, uint32_t) {
      run_kept_neurons(region, gate, up, begin * cut.step, std::min(rows, end * cut.step), activation, mask);
    });
  }
  if (!together) {
    if (*gate.linear)
      run_linears(plan, ws, pool, x, x_stride, m, {gate, up});
    else
      run_linears(plan, ws, pool, x, x_stride, m, {up});
    return activate(0, rows, 0, m);
  }
  const LinearCall both[] = {up, gate};
  prepare(plan, ws, pool, std::span(both, *gate.linear ? 2 : 1), x, x_stride, m);
  const size_t linears = *gate.linear ? 2 : 1;
  const Cut cut = cut_of(rows * linears, up.linear->weights->cols, m, pool.threads());
  const size_t steps = ceil_div(rows, cut.step);
  const size_t grain = std::max<size_t>(1, cut.grain / linears);
  pool.parallel_for(steps * cut.parts, grain, [&](size_t begin, size_t end, uint32_t slot) {
    while (begin < end) {
      const size_t part = begin / steps, first = begin % steps;
      // With several columns one tile at a time: its outputs are then still in the cache.
      const size_t count = m == 1 ? std::min(steps - first, end - begin) : 1;
      const size_t n0 = first * cut.step, n1 = std::min(rows, (first + count) * cut.step);
      const size_t m0 = column_of(m, cut.parts, part), m1 = column_of(m, cut.parts, part + 1);
      if (*gate.linear) run_outputs(region, gate, n0, n1, m0, m1, slot);
      if (listed) {
        run_kept_neurons(region, gate, up, n0, n1, activation, mask);
        begin += count;
        continue;
      }
      run_outputs(region, up, n0, n1, m0, m1, slot);
      activate(n0, n1, m0, m1);
      begin += count;
    }
  });
}

}  // namespace minnow::exec
