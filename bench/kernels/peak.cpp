// Loops of nothing but an instruction set's multiply-adds, on registers: what arithmetic is measured against.
#include <algorithm>
#include <chrono>

#include "bench.h"
#include "kernels/common/arch.h"
#include "kernels/common/isa.h"

namespace kernel_bench {
namespace {

constexpr uint64_t kTurns = 20000;

#if MINNOW_X86_64
#define MINNOW_CLOBBERS                                                                                      \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm13", \
      "xmm14", "xmm15"
// op(n): one instruction on register n. Twelve sums are more than any latency times width.
#define MINNOW_LOOP(op)                                                                                     \
  asm volatile("vpxor %%xmm14, %%xmm14, %%xmm14\n vpxor %%xmm15, %%xmm15, %%xmm15\n 1:\n" op(0) op(1) op(2) \
                   op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) "dec %0\n jnz 1b\n vzeroupper"   \
               : "+r"(turns)::MINNOW_CLOBBERS, "cc")
#define MINNOW_DPBUSD_Z(n) "vpdpbusd %%zmm14, %%zmm15, %%zmm" #n "\n"
#define MINNOW_DPBUSD_Y(n) "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm" #n "\n"
#define MINNOW_FMA_Z(n) "vfmadd231ps %%zmm14, %%zmm15, %%zmm" #n "\n"
#define MINNOW_FMA_Y(n) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #n "\n"
#define MINNOW_MADD_Y(n) "vpmaddwd %%ymm14, %%ymm15, %%ymm13\n vpaddd %%ymm13, %%ymm" #n ", %%ymm" #n "\n"
#define MINNOW_MADDUBS_Y(n) \
  "vpmaddubsw %%ymm14, %%ymm15, %%ymm13\n vpaddw %%ymm13, %%ymm" #n ", %%ymm" #n "\n"

// Returns multiply-adds.
double turn(uint32_t isa, Products products) {
  uint64_t turns = kTurns;
  const bool integers = products != Products::floats;
  if (isa == kIsaAvx512Vnni && integers) {
    MINNOW_LOOP(MINNOW_DPBUSD_Z);
    return 12.0 * 64 * kTurns;
  }
  if (isa == kIsaAvx512Vnni) {
    MINNOW_LOOP(MINNOW_FMA_Z);
    return 12.0 * 16 * kTurns;
  }
  if (isa == kIsaAvxVnni && integers) {
    MINNOW_LOOP(MINNOW_DPBUSD_Y);
    return 12.0 * 32 * kTurns;
  }
  if (isa == kIsaAvx2 && products == Products::bytes) {
    MINNOW_LOOP(MINNOW_MADDUBS_Y);
    return 12.0 * 32 * kTurns;
  }
  if (isa == kIsaAvx2 && products == Products::words) {
    MINNOW_LOOP(MINNOW_MADD_Y);
    return 12.0 * 16 * kTurns;
  }
  if (isa == kIsaAvx2 || isa == kIsaAvxVnni) {
    MINNOW_LOOP(MINNOW_FMA_Y);
    return 12.0 * 8 * kTurns;
  }
  return 0;
}
#elif MINNOW_AARCH64
#define MINNOW_CLOBBERS \
  "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "cc"
#define MINNOW_LOOP(op)                                                                                  \
  asm volatile(".arch_extension dotprod\n movi v14.16b, #0\n movi v15.16b, #0\n 1:\n" op(0) op(1) op(2)  \
                   op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) "subs %0, %0, #1\n b.ne 1b\n" \
               : "+r"(turns)::MINNOW_CLOBBERS)
#define MINNOW_SDOT(n) "sdot v" #n ".4s, v14.16b, v15.16b\n"
#define MINNOW_FMLA(n) "fmla v" #n ".4s, v14.4s, v15.4s\n"
#define MINNOW_SMULL(n) "smull v13.8h, v14.8b, v15.8b\n sadalp v" #n ".4s, v13.8h\n"

// Returns multiply-adds.
double turn(uint32_t isa, Products products) {
  uint64_t turns = kTurns;
  if (products == Products::floats) {
    MINNOW_LOOP(MINNOW_FMLA);
    return 12.0 * 4 * kTurns;
  }
  if (isa == kIsaNeonDotprod) {
    MINNOW_LOOP(MINNOW_SDOT);
    return 12.0 * 16 * kTurns;
  }
  if (isa == kIsaNeon) {
    MINNOW_LOOP(MINNOW_SMULL);
    return 12.0 * 8 * kTurns;
  }
  return 0;
}
#else
double turn(uint32_t, Products) {
  return 0;
}
#endif

}  // namespace

double peak_macs(uint32_t isa, Products products) {
  double best = 0;
  for (int i = 0; i < 20; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const double macs = turn(isa, products);
    best = std::max(best,
                    macs / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

}  // namespace kernel_bench
