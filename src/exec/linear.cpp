#include "exec/linear.h"

#include <algorithm>

#include "exec/float_gemm.h"

namespace minnow::exec {
namespace {

using model::InputForm;
using model::InputPiece;
using model::Plan;
using model::SlabWeights;

/// Brings rows [r0, r1) of x into the form: float pieces gathered, coded pieces quantised.
void prepare(const Plan& plan, const Workspace& ws, const InputForm& form, const float* x, size_t x_stride,
             size_t r0, size_t r1) {
  for (const InputPiece& p : form.pieces) {
    if (p.group != 0) {
      QuantizeArgs a{};
      a.x = x + r0 * x_stride + (form.order == nullptr ? p.first : 0);
      a.x_stride = x_stride;
      a.gather = form.order == nullptr ? nullptr : form.order + p.first;
      a.q = ws.input_codes + r0 * form.codes + p.offset;
      a.q_stride = form.codes;
      a.scale = ws.input_scales + r0 * form.groups + p.group_offset;
      a.sum = ws.input_sums + r0 * form.groups + p.group_offset;
      a.s_stride = form.groups;
      a.m = r1 - r0;
      a.k = p.count;
      a.k_padded = p.padded;
      a.group = p.group;
      plan.kernels.quantize->fn(&a);
      continue;
    }
    for (size_t r = r0; r < r1; ++r) {
      const float* from = x + r * x_stride;
      float* to = ws.input + r * form.floats + p.offset;
      for (uint32_t i = 0; i < p.count; ++i)
        to[i] = from[form.order != nullptr ? form.order[p.first + i] : p.first + i];
      std::fill(to + p.count, to + p.padded, 0.0f);
    }
  }
}

struct Region {
  const Plan& plan;
  const Workspace& ws;
  const float* x;
  size_t x_stride, m;
};

/// Rows [n0, n1) of one linear for all m inputs; the first slab stores, the others add.
void run_rows(const Region& r, const LinearCall& call, size_t n0, size_t n1, uint32_t slot) {
  const model::LinearWeights& w = *call.linear->weights;
  const InputForm& form = r.plan.forms[call.linear->form];
  const model::KernelSet& kernels = r.plan.kernels;
  if (form.direct() && r.plan.use_xnnpack && r.m >= kGemmMinRows &&
      float_gemm(w, kernels, r.x, r.x_stride, r.m, call.y, call.y_stride, n0, n1, r.ws.tile_of(slot))) {
    return;
  }
  for (size_t i = 0; i < w.slabs.size(); ++i) {
    const SlabWeights& s = w.slabs[i];
    const InputPiece& p = form.pieces[i];
    if (s.group == 0) {
      LinearFloatArgs a{};
      a.x = form.direct() ? r.x : r.ws.input + p.offset;
      a.x_stride = form.direct() ? r.x_stride : form.floats;
      a.w = s.codes, a.w_stride = s.code_stride;
      a.bias = w.bias;
      a.y = call.y, a.y_stride = call.y_stride;
      a.m = r.m, a.n0 = n0, a.n1 = n1, a.k = s.padded;
      a.accumulate = i > 0;
      const auto* kernel = s.code == model::CodeType::f32   ? kernels.linear_f32
                           : s.code == model::CodeType::f16 ? kernels.linear_f16
                                                            : kernels.linear_bf16;
      kernel->fn(&a);
    } else {
      LinearQ8Args a{};
      a.xq = r.ws.input_codes + p.offset, a.xq_stride = form.codes;
      a.xs = r.ws.input_scales + p.group_offset, a.xsum = r.ws.input_sums + p.group_offset;
      a.xs_stride = form.groups;
      a.w = s.codes, a.w_stride = s.code_stride;
      a.ws = reinterpret_cast<const uint16_t*>(s.scales), a.ws_stride = s.scale_stride;
      a.wz = s.zeros, a.wz_stride = s.zero_stride;
      a.bias = w.bias;
      a.y = call.y, a.y_stride = call.y_stride;
      a.m = r.m, a.n0 = n0, a.n1 = n1, a.k = s.padded, a.group = s.group;
      a.accumulate = i > 0;
      kernels.linear_w8->fn(&a);
    }
  }
}

/// Rows a thread takes at a time: small enough that threads finish together, large enough that a
/// piece is worth taking. Products so small that waking threads costs more stay with the caller.
size_t grain_of(size_t total, size_t cols, size_t m, uint32_t threads) {
  constexpr size_t kWorthSharing = size_t{1} << 16;  // multiplications: some microseconds of one core
  if (total * cols * m < kWorthSharing) return total;
  const size_t share = total / (size_t{threads} * 8);
  const size_t low = m > 1 ? kGemmTileRows : 16;
  return std::clamp<size_t>(share / 16 * 16, low, 512);
}

}  // namespace

void run_linears(const Plan& plan, const Workspace& ws, ThreadPool& pool, const float* x, size_t x_stride,
                 size_t m, std::initializer_list<LinearCall> calls) {
  const Region region{plan, ws, x, x_stride, m};
  for (const LinearCall* first = calls.begin(); first != calls.end();) {
    const InputForm& form = plan.forms[first->linear->form];
    const LinearCall* last = first;
    size_t total = 0;
    while (last != calls.end() && last->linear->form == first->linear->form)
      total += (last++)->linear->weights->rows;
    if (!form.direct()) {
      pool.parallel_for(
          m, 4, [&](size_t r0, size_t r1, uint32_t) { prepare(plan, ws, form, x, x_stride, r0, r1); });
    }
    pool.parallel_for(total, grain_of(total, first->linear->weights->cols, m, pool.threads()),
                      [&](size_t begin, size_t end, uint32_t slot) {
                        size_t offset = 0;
                        for (const LinearCall* call = first; call != last; ++call) {
                          const size_t rows = call->linear->weights->rows;
                          const size_t n0 = std::max(begin, offset), n1 = std::min(end, offset + rows);
                          if (n0 < n1) run_rows(region, *call, n0 - offset, n1 - offset, slot);
                          offset += rows;
                        }
                      });
    first = last;
  }
}

}  // namespace minnow::exec
