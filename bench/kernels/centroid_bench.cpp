// What a token does with the centroids of a KV head: one thread. "memory:1" takes means from memory that no
// cache holds, as where every layer has its own; "memory:0" the same ones every time.
#include <random>

#include "bench.h"
#include "kernels/mean/mean.h"
#include "kernels/score/score.h"
#include "kernels/weigh/weigh.h"

namespace kernel_bench {
namespace {

const uint16_t* halves(size_t count, bool memory) {
  Pool& pool = Pool::get();
  return (const uint16_t*)(memory ? pool.next(count * sizeof(uint16_t)) : pool.data());
}

std::vector<float> normals(size_t count) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

// Items are products.
void score(benchmark::State& state, ScoreFn fn) {
  const size_t n = (size_t)state.range(0), dim = (size_t)state.range(1), heads = (size_t)state.range(2);
  const std::vector<float> q = normals(heads * dim);
  std::vector<float> y(heads * n);
  Pool::get();  // which takes a while at first
  for (auto _ : state) {
    const ScoreArgs args{q.data(), dim, halves(n * dim, state.range(3) != 0), y.data(), n, heads, n, dim};
    fn(&args);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * (int64_t)(heads * n * dim));
}

// All rows weigh something.
void weigh(benchmark::State& state, WeighFn fn) {
  const size_t n = (size_t)state.range(0), dim = (size_t)state.range(1), heads = (size_t)state.range(2);
  const std::vector<float> x = normals(heads * n), bias = normals(n);
  std::vector<float> out(heads * dim), max(heads), sum(heads);
  Pool::get();
  PerThread<char> scratch(weigh_scratch_bytes(n), 1);
  for (auto _ : state) {
    const WeighArgs args{x.data(),
                         n,
                         1,
                         bias.data(),
                         halves(n * dim, state.range(3) != 0),
                         dim * sizeof(uint16_t),
                         out.data(),
                         dim,
                         max.data(),
                         sum.data(),
                         heads,
                         n,
                         n,
                         dim,
                         scratch.of(0)};
    fn(&args);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * (int64_t)(heads * n * dim));
}

void mean(benchmark::State& state, MeanFn fn) {
  const size_t n = (size_t)state.range(0), stride = (size_t)state.range(1);
  const std::vector<float> x = normals(n);
  std::vector<uint16_t> means(n * stride, 0x3c00);
  for (auto _ : state) {
    const MeanArgs args{means.data(), stride, x.data(), n, 0.1f};
    fn(&args);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * (int64_t)n);
}

const bool kRegistered = [] {
  const auto add = [](const char* name, uint32_t isa, auto fn, auto kernel) {
    if ((isa & machine_isa()) == 0) return;
    benchmark::RegisterBenchmark(name, fn, kernel)
        ->ArgsProduct({{1024}, {64, 128}, {4, 8}, {0, 1}})
        ->ArgNames({"n", "dim", "heads", "memory"});
  };
#define MINNOW_KERNEL(op, symbol, isa) add(#symbol, isa, score, symbol);
#include "kernels/score/variants.inc"
#undef MINNOW_KERNEL
#define MINNOW_KERNEL(op, symbol, isa) add(#symbol, isa, weigh, symbol);
#include "kernels/weigh/variants.inc"
#undef MINNOW_KERNEL
#define MINNOW_KERNEL(op, symbol, isa)                  \
  if ((isa & machine_isa()) != 0)                       \
    benchmark::RegisterBenchmark(#symbol, mean, symbol) \
        ->ArgsProduct({{64}, {1, 16}})                  \
        ->ArgNames({"n", "stride"});
#include "kernels/mean/variants.inc"
#undef MINNOW_KERNEL
  return true;
}();

}  // namespace
}  // namespace kernel_bench
