// Attention of a KV head a thread. Decode: the heads of one token, against the read wall. Prefill: heads *
// tokens query rows, against the arithmetic.
#include <algorithm>
#include <chrono>

#include "bench.h"
#include "kernels/attention/attention.h"

namespace kernel_bench {
namespace {

struct Work {
  std::vector<float> q, out, scales;
  std::vector<char> scratch;
  AttentionArgs args{};

  Work(size_t element, size_t tokens, size_t heads, size_t d, size_t p1)
      : q(kAttentionRows * d),
        out(kAttentionRows * d),
        scales(2 * p1, 0.01f),
        scratch(attention_scratch_bytes(d) + 64) {
    uint32_t state = 1;
    for (float& x : q) x = (float)(int32_t)(state = state * 1664525u + 1013904223u) * 0x1p-31f;
    args.q = q.data(), args.q_token_stride = heads * d, args.q_head_stride = d;
    args.tokens = tokens, args.heads = heads;
    args.row_stride = 2 * d * element;
    args.k_scales = scales.data(), args.v_scales = scales.data() + 1, args.scale_stride = 8;
    args.p1 = p1, args.last = p1 - tokens + 1;
    args.d = d, args.scale = 0.125f;
    args.out = out.data(), args.out_token_stride = heads * d, args.out_head_stride = d;
    args.scratch = (void*)(((uintptr_t)scratch.data() + 63) & ~(uintptr_t)63);
  }
  void place(const char* rows, size_t element) { args.k = rows, args.v = rows + args.d * element; }
};

// One token, every thread another KV head's 4096 positions.
void decode(benchmark::State& state, AttentionFn fn, size_t element) {
  const size_t heads = (size_t)state.range(0), threads = (size_t)state.range(1), d = 64, positions = 4096;
  const size_t bytes = positions * 2 * d * element;
  std::vector<Work> work;
  work.reserve(threads);
  for (size_t t = 0; t < threads; ++t) work.emplace_back(element, 1, heads, d, positions);
  AgainstWall against(state, threads * bytes, threads);
  for (auto _ : state) {
    const char* rows = Pool::get().next(threads * bytes);
    for (size_t t = 0; t < threads; ++t) work[t].place(rows + t * bytes, element);
    against.iterate([&](size_t t) { fn(&work[t].args); });
  }
}

// A tile of tokens at the end of 4096 positions, on every thread. "peak": of what a loop of nothing but
// multiply-adds does on one thread, times threads.
void prefill(benchmark::State& state, AttentionFn fn, size_t element, uint32_t isa) {
  const size_t heads = (size_t)state.range(0), tokens = (size_t)state.range(1), d = (size_t)state.range(2);
  const size_t threads = (size_t)state.range(3), positions = 4096;
  std::vector<Work> work;
  work.reserve(threads);
  for (size_t t = 0; t < threads; ++t) work.emplace_back(element, tokens, heads, d, positions);
  for (Work& w : work) w.place(Pool::get().data(), element);
  const double products = 2.0 * (double)(threads * heads * tokens * d * positions);
  std::vector<double> seconds;
  double peak = 0;
  for (auto _ : state) {
    if (seconds.size() % 64 == 0)
      peak = std::max(peak, peak_macs(isa, element == 1 ? Products::words : Products::floats));
    const auto start = std::chrono::steady_clock::now();
    team(threads).run([&](size_t t) { fn(&work[t].args); });
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    state.SetIterationTime(seconds.back());
  }
  std::sort(seconds.begin(), seconds.end());
  const double speed = products / seconds[seconds.size() / 10];
  state.counters["GMAC/s"] = speed * 1e-9;
  if (peak > 0) state.counters["peak"] = speed / (peak * (double)threads);
}

const bool kRegistered = [] {
  const uint32_t machine = machine_isa();
  const size_t elements[] = {4, 2, 1};  // in the order of the ops: f32, f16, q8
#define MINNOW_KERNEL(op, symbol, isa)                                                                    \
  if ((isa & machine) != 0) {                                                                             \
    benchmark::RegisterBenchmark(#symbol "/decode", decode, &symbol, elements[(size_t)AttentionOp::op])   \
        ->ArgsProduct({{1, 3, 4, 7}, {1, 2}})                                                             \
        ->ArgNames({"heads", "threads"})                                                                  \
        ->UseManualTime();                                                                                \
    benchmark::RegisterBenchmark(#symbol "/prefill", prefill, &symbol, elements[(size_t)AttentionOp::op], \
                                 isa)                                                                     \
        ->ArgsProduct({{4}, {16}, {64, 128}, {1, 2}})                                                     \
        ->Args({7, 9, 64, 1})                                                                             \
        ->Args({3, 21, 64, 1})                                                                            \
        ->ArgNames({"heads", "tokens", "d", "threads"})                                                   \
        ->UseManualTime();                                                                                \
  }
#include "kernels/attention/variants.inc"
#undef MINNOW_KERNEL
  return true;
}();

}  // namespace
}  // namespace kernel_bench
