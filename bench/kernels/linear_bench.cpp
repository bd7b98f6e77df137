// linear_float and linear_q8 over the shapes of real models. GB/s count the weights once, scales included.
#include "bench.h"
#include "kernels/linear_float/linear_float.h"
#include "kernels/linear_q8/linear_q8.h"

namespace kernel_bench {
namespace {

const LinearFloatKernel kFloats[] = {
#define MINNOW_KERNEL(op, symbol, isa) {LinearFloatOp::op, #symbol, symbol, isa},
#include "kernels/linear_float/variants.inc"
#undef MINNOW_KERNEL
};

const LinearQ8Kernel kQ8s[] = {
#define MINNOW_KERNEL(op, symbol, isa) {LinearQ8Op::op, #symbol, symbol, isa},
#include "kernels/linear_q8/variants.inc"
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

void linear_q8(benchmark::State& state, const LinearQ8Kernel& kernel, const Shape& shape) {
  const size_t m = (size_t)state.range(0), threads = (size_t)state.range(1), group = (size_t)state.range(2);
  const size_t k = (shape.k + 31) / 32 * 32, groups = (k + group - 1) / group;
  const size_t stride = (k + 63) / 64 * 64, scale_stride = groups * 2;
  const size_t n = std::min(shape.n, Pool::get().bytes() / (stride + scale_stride + 64));
  std::vector<int8_t> x(m * k, 3);
  std::vector<float> xs(m * groups, 0.01f), y(m * n);
  std::vector<int32_t> xsum(m * groups, 3 * (int32_t)group);
  AgainstWall against(state, n * (stride + scale_stride), threads);
  for (auto _ : state) {
    const char* w = Pool::get().next(n * (stride + scale_stride));
    against.iterate([&](size_t t) {
      LinearQ8Args args{};
      args.xq = x.data(), args.xq_stride = k, args.xs = xs.data(), args.xsum = xsum.data(),
      args.xs_stride = groups;
      args.w = (const uint8_t*)w, args.w_stride = stride;
      args.ws = (const uint16_t*)(w + n * stride), args.ws_stride = scale_stride;
      args.y = y.data(), args.y_stride = n;
      args.m = m, args.n0 = cut(n, threads, t), args.n1 = cut(n, threads, t + 1), args.k = k,
      args.group = group;
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
    for (const LinearQ8Kernel& kernel : kQ8s) {
      if ((kernel.isa & isa) == 0) continue;
      benchmark::RegisterBenchmark((kernel.name + suffix).c_str(), linear_q8, kernel, shape)
          ->ArgsProduct({{1, 2, 4, 8, 16}, {1, 2}, {32, 64, 128}})
          ->ArgNames({"M", "threads", "group"})
          ->UseManualTime();
    }
  }
  return true;
}();

}  // namespace
}  // namespace kernel_bench

BENCHMARK_MAIN();
