// linear_float over the shapes of real models. GB/s count the weights once.
#include "bench.h"
#include "kernels/linear_float/linear_float.h"

namespace kernel_bench {
namespace {

const LinearFloatKernel kFloats[] = {
#define MINNOW_KERNEL(op, symbol, isa) {LinearFloatOp::op, #symbol, symbol, isa},
#include "kernels/linear_float/variants.inc"
#undef MINNOW_KERNEL
};

void linear_float(benchmark::State& state, const LinearFloatKernel& kernel, const Shape& shape) {
  const size_t m = (size_t)state.range(0), threads = (size_t)state.range(1);
  const size_t k = (shape.k + 31) / 32 * 32;
  const size_t stride = k * (kernel.op == LinearFloatOp::linear_f32_f32_f32 ? 4 : 2);
  const size_t n = std::min(shape.n, Pool::get().bytes() / stride);
  std::vector<float> x(m * k, 0.5f), y(m * n);
  AgainstWall against(state, n * stride, threads);
  for (auto _ : state) {
    const char* w = Pool::get().next(n * stride);
    against.iterate([&](size_t t) {
      LinearFloatArgs args{};
      args.x = x.data(), args.x_stride = k, args.w = w, args.w_stride = stride, args.y = y.data(),
      args.y_stride = n;
      args.m = m, args.n0 = cut(n, threads, t), args.n1 = cut(n, threads, t + 1), args.k = k;
      kernel.fn(&args);
    });
  }
}

const bool kRegistered = [] {
  const uint32_t isa = machine_isa();
  for (const Shape& shape : shapes()) {
    const std::string suffix = "/" + shape.model + "/" + shape.name;
    for (const LinearFloatKernel& kernel : kFloats) {
      if ((kernel.isa & isa) == 0) continue;
      benchmark::RegisterBenchmark((kernel.name + suffix).c_str(), linear_float, kernel, shape)
          ->ArgsProduct({{1, 2, 4, 8, 16}, {1, 2}})
          ->ArgNames({"M", "threads"})
          ->UseManualTime();
    }
  }
  return true;
}();

}  // namespace
}  // namespace kernel_bench

BENCHMARK_MAIN();
