// Everything that is neither a linear nor attention: one thread, sizes as a decode step has them. read_sum is
// the read wall itself.
#include <random>

#include "bench.h"
#include "kernels/activation/activation.h"
#include "kernels/at_least/at_least.h"
#include "kernels/collect/collect.h"
#include "kernels/convert/convert.h"
#include "kernels/nearest/nearest.h"
#include "kernels/norm/norm.h"
#include "kernels/quantize/quantize.h"
#include "kernels/read_wall/read_wall.h"
#include "kernels/rope/rope.h"

namespace kernel_bench {
namespace {

// fn over n floats in the first-level cache.
template <class Args>
void vector_op(benchmark::State& state, void (*fn)(const Args*),
               Args (*make)(float*, float*, float*, size_t)) {
  const size_t n = (size_t)state.range(0);
  std::vector<float> a(n + 16, 0.5f), b(n + 16, 0.25f), c(n + 16, 0.125f);
  for (auto _ : state) {
    const Args args = make(a.data(), b.data(), c.data(), n);
    fn(&args);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * (int64_t)n);
}

void read_sum(benchmark::State& state, const ReadWallKernel& kernel) {
  const size_t threads = (size_t)state.range(0);
  Pool& pool = Pool::get();
  const size_t part = pool.bytes() / threads / 64 * 64;
  for (auto _ : state) {
    team(threads).run([&](size_t t) {
      uint64_t result;
      const ReadWallArgs args{pool.data() + t * part, part, &result};
      kernel.fn(&args);
      benchmark::DoNotOptimize(result);
    });
  }
  state.SetBytesProcessed(state.iterations() * (int64_t)(part * threads));
}

// Items are floats.
void nearest(benchmark::State& state, NearestFn fn) {
  const size_t m = (size_t)state.range(0), n = (size_t)state.range(1);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  PerThread<float> memory(m * n + n, 1);  // from the start of a cache line on
  float *scores = memory.of(0), *bias = scores + m * n;
  for (size_t i = 0; i < m * n + n; ++i) scores[i] = normal(random);
  std::vector<uint16_t> id(m);
  const NearestArgs args{scores, n, bias, id.data(), 1, m, n};
  for (auto _ : state) {
    fn(&args);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * (int64_t)(m * n));
}

// Items are ids. Other ids are wanted every time: the same ones over and over are soon known by heart, and
// jumps that cannot be foreseen in earnest would cost nothing here.
void collect(benchmark::State& state, CollectFn fn) {
  const size_t n = (size_t)state.range(0), percent = (size_t)state.range(1);
  struct alignas(64) Bitmap {
    uint32_t words[kCollectIds / 32] = {};
  };
  std::mt19937 random(1);
  std::vector<uint16_t> ids(n);
  for (uint16_t& id : ids) id = (uint16_t)(random() % kCollectIds);
  std::vector<Bitmap> wanted(64);
  for (Bitmap& bitmap : wanted) {
    for (size_t left = kCollectIds * percent / 100; left > 0;) {
      const uint32_t id = random() % kCollectIds, bit = 1u << (id & 31);
      left -= (bitmap.words[id >> 5] & bit) == 0;
      bitmap.words[id >> 5] |= bit;
    }
  }
  std::vector<uint32_t> list(n + kCollectSlack);
  size_t count = 0, turn = 0;
  for (auto _ : state) {
    const CollectArgs args{ids.data(), n,     wanted[turn++ % wanted.size()].words, 0xffff, list.data(),
                           0,          &count};
    fn(&args);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * (int64_t)n);
}

// Items are numbers, of other scores every time.
void at_least(benchmark::State& state, AtLeastFn fn) {
  const size_t n = (size_t)state.range(0), sets = 64;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> x(n * sets);
  for (float& v : x) v = normal(random);
  std::vector<uint32_t> list(n + kAtLeastSlack);
  size_t count = 0, turn = 0;
  for (auto _ : state) {
    const float* scores = x.data() + turn++ % sets * n;
    const AtLeastArgs args{scores, n, (float)state.range(1) / 100, list.data(), &count};
    fn(&args);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * (int64_t)n);
}

template <class Args>
void add_vector_op(const char* name, uint32_t isa, void (*fn)(const Args*),
                   Args (*make)(float*, float*, float*, size_t)) {
  if ((isa & machine_isa()) == 0) return;
  benchmark::RegisterBenchmark(name, vector_op<Args>, fn, make)->Arg(576)->Arg(2048)->Arg(8192);
}

NormArgs make_norm(float* x, float* y, float* weight, size_t n) {
  return {x, n, weight, nullptr, y, n, 1, n, 1e-5f};
}
ActivationArgs make_silu(float* x, float* y, float* z, size_t n) {
  return {x, y, z, n, Activation::silu};
}
RopeArgs make_rope(float* x, float* y, float* z, size_t n) {
  return {x, 64, n / 64, 64, y, z};
}
ConvertArgs make_convert(float* x, float* y, float*, size_t n) {
  return {x, y, n};
}
QuantizeArgs make_quantize(float* x, float* y, float* z, size_t n) {
  return {x, n, nullptr, (int8_t*)y, n, z, (int32_t*)z + n / 2, n / 64, 1, n, n, 64};
}

const bool kRegistered = [] {
  const uint32_t machine = machine_isa();
#define MINNOW_KERNEL(op, symbol, isa)                                                                    \
  if ((isa & machine) != 0) {                                                                             \
    benchmark::RegisterBenchmark(#symbol, read_sum, ReadWallKernel{ReadWallOp::op, #symbol, symbol, isa}) \
        ->Arg(1)                                                                                          \
        ->Arg(2)                                                                                          \
        ->ArgName("threads")                                                                              \
        ->UseRealTime();                                                                                  \
  }
#include "kernels/read_wall/variants.inc"
#undef MINNOW_KERNEL
#define MINNOW_KERNEL(op, symbol, isa) add_vector_op<NormArgs>(#symbol, isa, symbol, make_norm);
#include "kernels/norm/variants.inc"
#undef MINNOW_KERNEL
#define MINNOW_KERNEL(op, symbol, isa) add_vector_op<ActivationArgs>(#symbol, isa, symbol, make_silu);
#include "kernels/activation/variants.inc"
#undef MINNOW_KERNEL
#define MINNOW_KERNEL(op, symbol, isa) add_vector_op<RopeArgs>(#symbol, isa, symbol, make_rope);
#include "kernels/rope/variants.inc"
#undef MINNOW_KERNEL
#define MINNOW_KERNEL(op, symbol, isa) add_vector_op<ConvertArgs>(#symbol, isa, symbol, make_convert);
#include "kernels/convert/variants.inc"
#undef MINNOW_KERNEL
#define MINNOW_KERNEL(op, symbol, isa) add_vector_op<QuantizeArgs>(#symbol, isa, symbol, make_quantize);
#include "kernels/quantize/variants.inc"
#undef MINNOW_KERNEL
#define MINNOW_KERNEL(op, symbol, isa) \
  if ((isa & machine) != 0)            \
    benchmark::RegisterBenchmark(#symbol, nearest, symbol)->Args({64, 1024})->ArgNames({"m", "n"});
#include "kernels/nearest/variants.inc"
#undef MINNOW_KERNEL
#define MINNOW_KERNEL(op, symbol, isa)                     \
  if ((isa & machine) != 0) {                              \
    benchmark::RegisterBenchmark(#symbol, collect, symbol) \
        ->ArgsProduct({{131072}, {1, 3, 8}})               \
        ->ArgNames({"n", "percent"});                      \
  }
#include "kernels/collect/variants.inc"
#undef MINNOW_KERNEL
#define MINNOW_KERNEL(op, symbol, isa)                      \
  if ((isa & machine) != 0) {                               \
    benchmark::RegisterBenchmark(#symbol, at_least, symbol) \
        ->ArgsProduct({{4096}, {100, 200}})                 \
        ->ArgNames({"n", "hundredths"});                    \
  }
#include "kernels/at_least/variants.inc"
#undef MINNOW_KERNEL
  return true;
}();

}  // namespace
}  // namespace kernel_bench
