// What leaving out costs and gains: gemv_channel and gemv_row over lists of what is kept, against the dense
// panel kernel of the same instruction set, in turns, on memory that no cache holds. "over_panel" is the
// dense kernel's time over the listed one's, "ideal" the ratio of bytes.
#include <algorithm>
#include <chrono>
#include <random>

#include "bench.h"
#include "kernels/gemv_channel/gemv_channel.h"
#include "kernels/gemv_panel/gemv_panel.h"
#include "kernels/gemv_row/gemv_row.h"

namespace kernel_bench {
namespace {

constexpr size_t kGroup = 128;

size_t up(size_t n, size_t to) {
  return (n + to - 1) / to * to;
}

struct Activations {
  std::vector<int8_t> codes;
  std::vector<float> scales, zs;
  QuantisedInput view;
  explicit Activations(size_t k) {
    codes.assign(up(k, kInputPadding) + 64, 3);
    scales.assign(up(k / kGroup, kInputGroupPadding), 0.01f);
    zs.assign(scales.size(), 0.5f);
    view = {codes.data(), codes.size(), scales.data(), zs.data(), scales.size()};
  }
};

// Sixteen random choices, so that no branch or prefetcher learns one by heart.
struct Lists {
  struct One {
    std::vector<uint32_t> list, starts;
  };
  std::vector<One> all;
  size_t next = 0;
  Lists(size_t count, int percent_left_out) {
    std::mt19937 random(1);
    for (int i = 0; i < 16; ++i) {
      One& one = all.emplace_back();
      for (size_t c = 0; c < count; ++c) {
        if (c % kGroup == 0) one.starts.push_back((uint32_t)one.list.size());
        if ((int)(random() % 100) >= percent_left_out) one.list.push_back((uint32_t)c);
      }
      one.starts.push_back((uint32_t)one.list.size());
    }
  }
  const One& take() { return all[next++ % all.size()]; }
};

double seconds_of(size_t threads, const std::function<void(size_t)>& job) {
  const auto start = std::chrono::steady_clock::now();
  team(threads).run(job);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double fast(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 10];
}

struct Matrix {
  size_t n, k, unit, codes, factors, zeros;
  int bits;
  enum class Lines { panel, channel, row } lines;

  Matrix(Lines l, int b, size_t n_, size_t k_) : n(n_), k(k_), bits(b), lines(l) {
    const size_t groups = k / kGroup;
    if (lines == Lines::row) {
      const size_t data = run_bytes(bits, k);
      unit = up(data + 2 * groups + up(groups, 16) / 2, 16);
      codes = n * unit, factors = data, zeros = data + 2 * groups;
    } else {
      unit = lines == Lines::panel ? panel_bytes(bits, k) : run_bytes(bits, n);
      codes = lines == Lines::panel ? n / 16 * unit : k * unit;
      factors = codes, zeros = codes + 2 * n * groups;
    }
  }
  size_t bytes() const { return lines == Lines::row ? codes : zeros + n * (k / kGroup) / 2; }
  QuantisedWeights at(const char* p) const {
    const size_t groups = k / kGroup;
    const size_t stride = lines == Lines::row ? unit : lines == Lines::panel ? 32 * groups : 2 * n;
    const size_t zero_stride = lines == Lines::row ? unit : lines == Lines::panel ? 8 * groups : n / 2;
    const auto* base = (const uint8_t*)p;
    return {bits, kGroup, base, unit, (const uint16_t*)(base + factors), stride, base + zeros, zero_stride};
  }
};

void report(benchmark::State& state, const std::vector<double>& listed, const std::vector<double>& panel,
            size_t listed_bytes, size_t panel_bytes_read) {
  state.counters["over_panel"] = fast(panel) / fast(listed);
  state.counters["ideal"] = (double)panel_bytes_read / (double)listed_bytes;
  state.counters["GB/s"] = (double)listed_bytes / fast(listed) * 1e-9;
  state.counters["panel_GB/s"] = (double)panel_bytes_read / fast(panel) * 1e-9;
}

double run_panel(const GemvPanelKernel& kernel, const Matrix& m, const Activations& x, std::vector<float>& y,
                 size_t threads) {
  const QuantisedWeights w = m.at(Pool::get().next(m.bytes() + 64));
  return seconds_of(threads, [&](size_t t) {
    const GemvPanelArgs args{w,
                             x.view,
                             nullptr,
                             y.data(),
                             m.n,
                             1,
                             m.n / 16 * t / threads * 16,
                             m.n / 16 * (t + 1) / threads * 16,
                             m.k,
                             false};
    kernel.fn(&args);
  });
}

void down(benchmark::State& state, const GemvChannelKernel& kernel, const GemvPanelKernel& dense) {
  const size_t n = 2048, k = 8192, threads = (size_t)state.range(0);
  const int bits = (int)state.range(1), percent = (int)state.range(2);
  const Matrix channels(Matrix::Lines::channel, bits, n, k), panels(Matrix::Lines::panel, bits, n, k);
  const Activations x(k);
  Lists lists(k, percent);
  PerThread<float> partial(n, threads);
  PerThread<int32_t> sums(up(n, kChannelSums), threads);
  std::vector<float> y(n);
  std::vector<double> listed, panel;
  for (auto _ : state) {
    const QuantisedWeights w = channels.at(Pool::get().next(channels.bytes() + 64));
    const Lists::One& one = lists.take();
    listed.push_back(seconds_of(threads, [&](size_t t) {
      const size_t k0 = k / kGroup * t / threads * kGroup, k1 = k / kGroup * (t + 1) / threads * kGroup;
      const GemvChannelArgs args{w,  x.view, partial.of(t), sums.of(t),      n,
                                 k0, k1,     false,         one.list.data(), one.starts.data()};
      kernel.fn(&args);
    }));
    panel.push_back(run_panel(dense, panels, x, y, threads));
    state.SetIterationTime(listed.back());
  }
  const size_t kept = k * (size_t)(100 - percent) / 100;
  report(state, listed, panel, kept * channels.unit + channels.bytes() - channels.codes, panels.bytes());
}

void rows(benchmark::State& state, const GemvRowKernel& kernel, const GemvPanelKernel& dense) {
  const size_t n = 8192, k = 2048, threads = (size_t)state.range(0);
  const int bits = (int)state.range(1), percent = (int)state.range(2);
  const Matrix by_rows(Matrix::Lines::row, bits, n, k), panels(Matrix::Lines::panel, bits, n, k);
  const Activations x(k);
  Lists lists(n, percent);
  std::vector<float> y(n), gates(n, 1.0f);
  std::vector<double> listed, panel;
  for (auto _ : state) {
    const QuantisedWeights w = by_rows.at(Pool::get().next(by_rows.bytes() + 64));
    const Lists::One& one = lists.take();
    listed.push_back(seconds_of(threads, [&](size_t t) {
      const size_t count = one.list.size();
      const GemvRowArgs args{
          w, x.view, nullptr,         y.data(),    count * t / threads, count * (t + 1) / threads,
          k, false,  one.list.data(), gates.data()};
      kernel.fn(&args);
    }));
    panel.push_back(run_panel(dense, panels, x, y, threads));
    state.SetIterationTime(listed.back());
  }
  report(state, listed, panel, by_rows.codes / 100 * (size_t)(100 - percent), panels.bytes());
}

const bool kRegistered = [] {
  const uint32_t machine = machine_isa();
  const auto add = [&](const char* name, auto fn, const auto& kernel) {
    if ((kernel.isa & machine) == 0) return;
    const GemvPanelKernel* dense = select_gemv_panel(GemvPanelOp::gemv_panel_f32_q8_wn, kernel.isa);
    benchmark::RegisterBenchmark((std::string("sparse/") + name).c_str(), fn, kernel, *dense)
        ->ArgsProduct({{1, 2}, {2, 3, 4}, {0, 10, 20, 30, 50, 70, 90}})
        ->ArgNames({"threads", "bits", "left_out"})
        ->UseManualTime();
  };
#define MINNOW_KERNEL(op, symbol, isa) \
  add(#symbol "/down", down, GemvChannelKernel{GemvChannelOp::op, #symbol, symbol, isa});
#include "kernels/gemv_channel/variants.inc"
#undef MINNOW_KERNEL
#define MINNOW_KERNEL(op, symbol, isa) \
  add(#symbol "/up", rows, GemvRowKernel{GemvRowOp::op, #symbol, symbol, isa});
#include "kernels/gemv_row/variants.inc"
#undef MINNOW_KERNEL
  return true;
}();

}  // namespace
}  // namespace kernel_bench
