// Dense float matrix products through XNNPACK: prefill with float weights.
// The only file that knows XNNPACK.
#pragma once

#include <cstddef>

#include "model/kernel_set.h"
#include "model/weights.h"

namespace minnow::exec {

/// Rows of a weight tile that is widened to f32 and packed at a time.
inline constexpr size_t kGemmTileRows = 64;
/// From so many activation rows on, packing a tile pays for itself.
inline constexpr size_t kGemmMinRows = 8;

/// Initialises XNNPACK once for the process. False: it cannot run here, use the kernels instead.
bool float_gemm_available();

/// y[i][n] = sum_k x[i][k] W[n][k] + bias[n] for n in [n0, n1), i in [0, m). `slab` is the linear's
/// only one and a float one. `scratch` holds kGemmTileRows * slab.padded floats of this thread.
/// False: XNNPACK refused (no memory); y is then unspecified.
bool float_gemm(const model::LinearWeights& w, const model::KernelSet& kernels, const float* x,
                size_t x_stride, size_t m, float* y, size_t y_stride, size_t n0, size_t n1, float* scratch);

}  // namespace minnow::exec
