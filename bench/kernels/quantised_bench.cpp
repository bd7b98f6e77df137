// gemv_panel, gemv_row, gemv_channel, and expand with gemm, over the shapes of real models. GB/s count
// weights once, with scales and zeros; GMAC/s are multiply-adds. "wall" is the speed over that of a plain
// read, "peak" over that of a loop of nothing but products in registers.
#include <algorithm>
#include <chrono>

#include "bench.h"
#include "kernels/expand/expand.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemv_channel/gemv_channel.h"
#include "kernels/gemv_panel/gemv_panel.h"
#include "kernels/gemv_row/gemv_row.h"

namespace kernel_bench {
namespace {

size_t up(size_t n, size_t to) {
  return (n + to - 1) / to * to;
}

struct Activations {
  std::vector<int8_t> codes;
  std::vector<float> scales, zs;
  QuantisedInput view;

  Activations(size_t m, size_t k, size_t group) {
    const size_t stride = up(k, kInputPadding) + 64, groups = up((k + group - 1) / group, kInputGroupPadding);
    codes.assign(m * stride, 3);
    scales.assign(m * groups, 0.01f);
    zs.assign(m * groups, 0.5f);
    view = {codes.data(), stride, scales.data(), zs.data(), groups};
  }
};

// A slab of n outputs by k inputs whose bytes lie at `at`: layout decides strides.
struct Slab {
  ExpandLayout layout;
  int bits;
  size_t n, k, group;
  size_t lines, stride, factor_lines, factors;

  Slab(ExpandLayout l, int b, size_t n_, size_t k_, size_t g) : layout(l), bits(b), n(n_), k(k_), group(g) {
    const size_t groups = (k + group - 1) / group;
    if (layout == ExpandLayout::row) {
      lines = n, factor_lines = n, factors = groups;
      stride = up(run_bytes(bits, k) + 2 * groups + (bits == 8 ? 0 : up(groups, 16) / 2), 16);
    } else if (layout == ExpandLayout::panel) {
      lines = factor_lines = (n + 15) / 16, stride = panel_bytes(bits, k), factors = 16 * groups;
    } else {
      lines = k, stride = run_bytes(bits, n), factor_lines = groups, factors = n;
    }
  }
  size_t zero_stride() const { return bits == 8 ? 0 : up(factors, 16) / 2; }
  size_t bytes() const {
    if (layout == ExpandLayout::row) return lines * stride;
    return lines * stride + factor_lines * (2 * factors + zero_stride());
  }
  QuantisedWeights at(const char* p) const {
    const auto* base = (const uint8_t*)p;
    QuantisedWeights w{};
    w.bits = bits, w.group = group, w.codes = base, w.stride = stride;
    const uint8_t* factor = base + (layout == ExpandLayout::row ? run_bytes(bits, k) : up(lines * stride, 2));
    w.scales = (const uint16_t*)factor;
    w.scale_stride = layout == ExpandLayout::row ? stride : 2 * factors;
    w.zeros = bits == 8 ? nullptr
                        : factor + (layout == ExpandLayout::row ? 2 * factors : factor_lines * 2 * factors);
    w.zero_stride = layout == ExpandLayout::row ? stride : zero_stride();
    return w;
  }
};

void gemv_panel(benchmark::State& state, const GemvPanelKernel& kernel, const Shape& shape) {
  const size_t m = (size_t)state.range(0), threads = (size_t)state.range(1), group = (size_t)state.range(3);
  const size_t n = std::min<size_t>(shape.n, 32768);
  const Slab slab(ExpandLayout::panel, (int)state.range(2), n, up(shape.k, 32), group);
  Activations x(m, slab.k, group);
  std::vector<float> y(m * n);
  AgainstWall against(state, slab.bytes(), threads);
  for (auto _ : state) {
    const QuantisedWeights w = slab.at(Pool::get().next(slab.bytes() + 64));
    against.iterate([&](size_t t) {
      const size_t n0 = n / 16 * t / threads * 16,
                   n1 = t + 1 == threads ? n : n / 16 * (t + 1) / threads * 16;
      const GemvPanelArgs args{w, x.view, nullptr, y.data(), n, m, n0, n1, slab.k, false};
      kernel.fn(&args);
    });
  }
}

void gemv_row(benchmark::State& state, const GemvRowKernel& kernel, const Shape& shape) {
  const size_t threads = (size_t)state.range(1), group = (size_t)state.range(3);
  const size_t n = std::min<size_t>(shape.n, 32768);
  const Slab slab(ExpandLayout::row, (int)state.range(2), n, up(shape.k, 32), group);
  Activations x(1, slab.k, group);
  std::vector<float> y(n);
  AgainstWall against(state, slab.bytes(), threads);
  for (auto _ : state) {
    const QuantisedWeights w = slab.at(Pool::get().next(slab.bytes() + 64));
    against.iterate([&](size_t t) {
      const GemvRowArgs args{w,      x.view, nullptr, y.data(), cut(n, threads, t), cut(n, threads, t + 1),
                             slab.k, false,  nullptr, nullptr};
      kernel.fn(&args);
    });
  }
}

void gemv_channel(benchmark::State& state, const GemvChannelKernel& kernel, const Shape& shape) {
  const size_t threads = (size_t)state.range(1), group = (size_t)state.range(3);
  const size_t n = std::min<size_t>(shape.n, 32768);
  const Slab slab(ExpandLayout::channel, (int)state.range(2), n, up(shape.k, 32), group);
  Activations x(1, slab.k, group);
  PerThread<float> y(n, threads);
  PerThread<int32_t> sums(up(n, kChannelSums), threads);
  AgainstWall against(state, slab.bytes(), threads);
  for (auto _ : state) {
    const QuantisedWeights w = slab.at(Pool::get().next(slab.bytes() + 64));
    against.iterate([&](size_t t) {
      const size_t k0 = slab.k * t / threads / 128 * 128,
                   k1 = t + 1 == threads ? slab.k : slab.k * (t + 1) / threads / 128 * 128;
      const GemvChannelArgs args{w, x.view, y.of(t), sums.of(t), n, k0, k1, false, nullptr, nullptr};
      kernel.fn(&args);
    });
  }
}

// Expansion and product together, tile by tile, as prefill does it.
void gemm(benchmark::State& state, const GemmKernel& kernel, const Shape& shape, ExpandLayout layout) {
  const size_t m = (size_t)state.range(0), threads = (size_t)state.range(1), group = (size_t)state.range(3);
  constexpr size_t kRows = kExpandRows, kChannels = 1024;
  const size_t n = std::min<size_t>(shape.n, 8192) / (kRows * threads) * kRows * threads;
  if (n == 0) return state.SkipWithError("too few outputs");
  const Slab slab(layout, (int)state.range(2), n, up(shape.k, 32), group);
  const ExpandKernel* expand = select_expand(ExpandOp::expand_u8_wn, kernel.isa);
  Activations x(m, slab.k, group);
  std::vector<float> y(m * n);
  std::vector<std::vector<char>> scratch(
      threads, std::vector<char>(kRows * kChannels + 2 * 4 * kRows * kChannels / 32 + 64));
  const QuantisedWeights w = slab.at(Pool::get().next(slab.bytes() + 64));
  const double best = peak_macs(kernel.isa, Products::bytes) * (double)threads;
  std::vector<double> seconds;
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    team(threads).run([&](size_t t) {
      auto* codes = (uint8_t*)up((size_t)scratch[t].data(), 64);
      auto* scales = (float*)(codes + kRows * kChannels);
      float* zeros = scales + kRows * kChannels / 32;
      for (size_t n0 = n * t / threads; n0 < n * (t + 1) / threads; n0 += kRows) {
        for (size_t k = 0; k < slab.k; k += kChannels) {
          const size_t k1 = std::min(slab.k, k + kChannels);
          const ExpandArgs e{w, layout, n, slab.k, n0, kRows, k, k1, codes, scales, zeros};
          expand->fn(&e);
          QuantisedInput from = x.view;
          from.codes += k, from.scales += k / group, from.zs += k / group;
          const GemmArgs g{codes, scales, zeros, kRows,   k1 - k,        group, slab.bits,
                           from,  m,      kRows, nullptr, y.data() + n0, n,     k > 0};
          kernel.fn(&g);
        }
      }
    });
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    state.SetIterationTime(seconds.back());
  }
  std::sort(seconds.begin(), seconds.end());
  const double rate = (double)m * (double)n * (double)slab.k / seconds[seconds.size() / 10];
  state.counters["GMAC/s"] = rate * 1e-9;
  if (best > 0) state.counters["peak"] = rate / best;
}

const bool kRegistered = [] {
  const uint32_t machine = machine_isa();
  for (const Shape& shape : shapes()) {
    const std::string suffix = "/" + shape.model + "/" + shape.name;
    const auto add = [&](const char* name, auto fn, const auto& kernel, std::vector<int64_t> columns,
                         auto... more) {
      if ((kernel.isa & machine) == 0) return;
      benchmark::RegisterBenchmark((name + suffix).c_str(), fn, kernel, shape, more...)
          ->ArgsProduct({columns, {1, 2}, {2, 3, 4, 8}, {32, 64, 128}})
          ->ArgNames({"M", "threads", "bits", "group"})
          ->UseManualTime();
    };
#define MINNOW_KERNEL(op, symbol, isa) \
  add(#symbol, gemv_panel, GemvPanelKernel{GemvPanelOp::op, #symbol, symbol, isa}, {1, 2, 3, 4, 8});
#include "kernels/gemv_panel/variants.inc"
#undef MINNOW_KERNEL
#define MINNOW_KERNEL(op, symbol, isa) \
  add(#symbol, gemv_row, GemvRowKernel{GemvRowOp::op, #symbol, symbol, isa}, {1});
#include "kernels/gemv_row/variants.inc"
#undef MINNOW_KERNEL
#define MINNOW_KERNEL(op, symbol, isa) \
  add(#symbol, gemv_channel, GemvChannelKernel{GemvChannelOp::op, #symbol, symbol, isa}, {1});
#include "kernels/gemv_channel/variants.inc"
#undef MINNOW_KERNEL
#define MINNOW_KERNEL(op, symbol, isa)                                                                \
  add(#symbol "/panel", gemm, GemmKernel{GemmOp::op, #symbol, symbol, isa}, {2, 4, 8, 16, 32, 256},   \
      ExpandLayout::panel);                                                                           \
  add(#symbol "/row", gemm, GemmKernel{GemmOp::op, #symbol, symbol, isa}, {2, 4, 8, 16, 32, 256},     \
      ExpandLayout::row);                                                                             \
  add(#symbol "/channel", gemm, GemmKernel{GemmOp::op, #symbol, symbol, isa}, {2, 4, 8, 16, 32, 256}, \
      ExpandLayout::channel);
#include "kernels/gemm/variants.inc"
#undef MINNOW_KERNEL
  }
  return true;
}();

}  // namespace
}  // namespace kernel_bench
