// What kernel tests share: the machine's ISA mask, seeded random numbers, buffers that end at a guard page.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"
#if MINNOW_AARCH64
#include <sys/auxv.h>
#endif

namespace kernel_test {

#if MINNOW_X86_64
// Which register states the operating system saves (XCR0).
__attribute__((target("xsave"))) inline uint64_t enabled_states() {
  return __builtin_ia32_xgetbv(0);
}
#endif

// Deliberately not the library's own detection: a test must not trust what it tests.
inline uint32_t machine_isa() {
  uint32_t mask = kIsaScalar;
#if MINNOW_X86_64
  __builtin_cpu_init();
  uint32_t eax = 1, ebx = 0, ecx = 0, edx = 0;
  asm("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
  const uint64_t states = (ecx & (1u << 27)) != 0 ? enabled_states() : 0;
  const bool f16c = (ecx & (1u << 29)) != 0;
  const bool ymm = (states & 0x6) == 0x6;
  const bool zmm = (states & 0xe6) == 0xe6;
  if (ymm && f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    mask |= kIsaAvx2;
    eax = 7, ecx = 1;
    asm("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    if ((eax & (1u << 4)) != 0) mask |= kIsaAvxVnni;
    if (zmm && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512vnni")) {
      mask |= kIsaAvx512Vnni;
    }
  }
#elif MINNOW_AARCH64
  mask |= kIsaNeon;
  if ((getauxval(AT_HWCAP) & (1ul << 20)) != 0) {  // HWCAP_ASIMDDP
    mask |= kIsaNeonDotprod;
    if ((getauxval(AT_HWCAP2) & (1ul << 13)) != 0) mask |= kIsaNeonI8mm;  // HWCAP2_I8MM
  }
#endif
  return mask;
}

// One seed a process: MINNOW_SEED=n repeats a run, and the seed is printed with any failure.
inline uint32_t seed() {
  static const uint32_t value = [] {
    const char* text = std::getenv("MINNOW_SEED");
    const uint32_t chosen =
        text != nullptr ? (uint32_t)std::strtoul(text, nullptr, 10) : std::random_device{}();
    std::printf("MINNOW_SEED=%u\n", chosen);
    return chosen;
  }();
  return value;
}

struct Random {
  std::mt19937 engine{seed()};
  float normal() { return std::normal_distribution<float>()(engine); }
  float uniform(float low, float high) { return std::uniform_real_distribution<float>(low, high)(engine); }
  int integer(int low, int high) { return std::uniform_int_distribution<int>(low, high)(engine); }
  uint32_t bits() { return (uint32_t)engine(); }
};

// `count` elements whose end is the end of readable memory: reading one byte more is a crash. Zeroed.
template <class T>
class Guarded {
 public:
  explicit Guarded(size_t count) : count_(count) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    bytes_ = (count * sizeof(T) + page - 1) / page * page;
    base_ = (char*)mmap(nullptr, bytes_ + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base_ == MAP_FAILED) std::abort();
    if (mprotect(base_ + bytes_, page, PROT_NONE) != 0) std::abort();
    total_ = bytes_ + page;
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() { munmap(base_, total_); }
  T* data() { return (T*)(base_ + bytes_ - count_ * sizeof(T)); }
  T& operator[](size_t i) { return data()[i]; }
  size_t size() const { return count_; }
  T* begin() { return data(); }
  T* end() { return data() + count_; }

 private:
  char* base_ = nullptr;
  size_t count_, bytes_ = 0, total_ = 0;
};

// 64-byte aligned bytes with the 64 bytes of slack that weights have.
class Aligned {
 public:
  explicit Aligned(size_t bytes) : storage_(bytes + 128) {}
  char* data() { return (char*)(((uintptr_t)storage_.data() + 63) & ~(uintptr_t)63); }

 private:
  std::vector<char> storage_;
};

inline double value_of_f16(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int fraction = bits & 1023;
  double value = exponent == 31  ? (fraction != 0 ? NAN : INFINITY)
                 : exponent == 0 ? std::ldexp(fraction, -24)
                                 : std::ldexp(1024 + fraction, exponent - 25);
  return (bits & 0x8000) != 0 ? -value : value;
}

// A finite f16 of magnitude below 2.
inline uint16_t random_f16(Random& random) {
  return (uint16_t)((random.bits() & 0x8000u) | (uint32_t)random.integer(0, 0x3fff));
}

template <class Kernel>
class KernelTest : public testing::TestWithParam<Kernel> {
 protected:
  void SetUp() override {
    seed();
    if ((this->GetParam().isa & machine_isa()) == 0) GTEST_SKIP() << "this machine has no such instructions";
  }
  void TearDown() override {
    if (this->HasFailure()) std::printf("again with MINNOW_SEED=%u\n", seed());
  }
  Random random;
};

template <class Kernel>
std::string kernel_name(const testing::TestParamInfo<Kernel>& info) {
  return info.param.name;
}

}  // namespace kernel_test

// Inside gtest's messages a kernel is its name.
#define MINNOW_PRINT_KERNEL(Kernel)                              \
  inline void PrintTo(const Kernel& kernel, std::ostream* out) { \
    *out << kernel.name;                                         \
  }

#define MINNOW_KERNEL_SUITE(Suite, Kernel, all) \
  INSTANTIATE_TEST_SUITE_P(Variants, Suite, testing::ValuesIn(all), kernel_test::kernel_name<Kernel>)
