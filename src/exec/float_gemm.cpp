#include "exec/float_gemm.h"

#include <xnnpack.h>

#include <algorithm>
#include <limits>

namespace minnow::exec {

bool float_gemm_available() {
  static const bool available = xnn_initialize(nullptr) == xnn_status_success;
  return available;
}

bool float_gemm(const model::LinearWeights& w, const model::KernelSet& kernels, const float* x,
                size_t x_stride, size_t m, float* y, size_t y_stride, size_t n0, size_t n1, float* scratch) {
  const model::SlabWeights& s = w.slabs.front();
  const float infinity = std::numeric_limits<float>::infinity();
  for (size_t n = n0; n < n1; n += kGemmTileRows) {
    const size_t rows = std::min(kGemmTileRows, n1 - n);
    const uint8_t* codes = s.codes + n * s.code_stride;
    const float* tile = scratch;
    if (s.code == model::CodeType::f32 && s.code_stride == s.padded * sizeof(float)) {
      tile = reinterpret_cast<const float*>(codes);
    } else {
      const auto* widen = s.code == model::CodeType::f16    ? kernels.f16_to_f32
                          : s.code == model::CodeType::bf16 ? kernels.bf16_to_f32
                                                            : nullptr;
      for (size_t r = 0; r < rows; ++r) {
        const uint8_t* row = codes + r * s.code_stride;
        if (widen != nullptr) {
          const ConvertArgs args{row, scratch + r * s.padded, s.padded};
          widen->fn(&args);
        } else {
          std::copy_n(reinterpret_cast<const float*>(row), s.padded, scratch + r * s.padded);
        }
      }
    }
    xnn_operator_t op = nullptr;
    bool ok = xnn_create_fully_connected_nc_f32(s.padded, rows, x_stride, y_stride, tile,
                                                w.bias != nullptr ? w.bias + n : nullptr, -infinity, infinity,
                                                0, &op) == xnn_status_success;
    ok = ok && xnn_setup_fully_connected_nc_f32(op, m, x, y + n, nullptr) == xnn_status_success;
    ok = ok && xnn_run_operator(op, nullptr) == xnn_status_success;
    if (op != nullptr) xnn_delete_operator(op);
    if (!ok) return false;
  }
  return true;
}

}  // namespace minnow::exec
