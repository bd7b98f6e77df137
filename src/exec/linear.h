// Runs linears that share an input: prepares the input in the form they want, then spreads all their
// rows over the threads in one parallel region.
#pragma once

#include <cstddef>
#include <initializer_list>

#include "base/thread_pool.h"
#include "exec/workspace.h"
#include "model/plan.h"

namespace minnow::exec {

struct LinearCall {
  const model::PlanLinear* linear;
  float* y;         // (m, rows)
  size_t y_stride;  // floats
};

/// y = W x + bias for each call. x is (m, cols) with rows x_stride floats apart, zero-padded to 32.
void run_linears(const model::Plan& plan, const Workspace& ws, ThreadPool& pool, const float* x,
                 size_t x_stride, size_t m, std::initializer_list<LinearCall> calls);

/// Thresholds on act(W_gate x): neurons at or below are left out. Null: none.
struct GateMask {
  const float* thresholds = nullptr;  // (ffn)
  int32_t index = -1;                 ///< into Plan::masks
};

/// gate.y = act(W_gate x) * (W_up x), both computed for the same outputs by the same thread, so that what
/// they share is still in its cache; up.y is scratch. Without a gate (gate.linear names no weights): up.y =
/// act(W_up x).
void run_gated(const model::Plan& plan, const Workspace& ws, ThreadPool& pool, const float* x,
               size_t x_stride, size_t m, const LinearCall& gate, const LinearCall& up, Activation activation,
               const GateMask& mask);

}  // namespace minnow::exec
