#include "base/cpu.h"

#include <cpuinfo.h>
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>

#include "kernels/common/isa.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#ifndef HWCAP2_I8MM
#define HWCAP2_I8MM (1 << 13)
#endif
#ifndef HWCAP_ASIMDDP
#define HWCAP_ASIMDDP (1 << 20)
#endif
#endif

namespace minnow {
namespace {

struct Level {
  const char* name;
  uint32_t bit;
};

// Lowest first; a level implies the ones before it of its own architecture.
constexpr Level kLevels[] = {
    {"scalar", kIsaScalar},
#if defined(__x86_64__)
    {"avx2", kIsaAvx2},
    {"avxvnni", kIsaAvxVnni},
    {"avx512vnni", kIsaAvx512Vnni},
#elif defined(__aarch64__)
    {"neon", kIsaNeon},
    {"neon_dotprod", kIsaNeonDotprod},
    {"neon_i8mm", kIsaNeonI8mm},
#endif
};

#if defined(__x86_64__)
/// Register states the operating system saves: bits of XCR0. CPUID alone promises too much.
uint64_t enabled_states() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_OSXSAVE) == 0) return 0;
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

bool has_avx_vnni() {  // newer than the packaged cpuinfo
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & (1u << 4)) != 0;
}
#endif

}  // namespace

uint32_t detect_isa() {
  uint32_t mask = kIsaScalar;
  if (!cpuinfo_initialize()) return mask;
#if defined(__x86_64__)
  const uint64_t states = enabled_states();
  constexpr uint64_t kYmm = 0x6, kZmm = 0xe6;
  if ((states & kYmm) == kYmm && cpuinfo_has_x86_avx2() && cpuinfo_has_x86_fma3() && cpuinfo_has_x86_f16c()) {
    mask |= kIsaAvx2;
    if (has_avx_vnni()) mask |= kIsaAvxVnni;
    if ((states & kZmm) == kZmm && cpuinfo_has_x86_avx512f() && cpuinfo_has_x86_avx512bw() &&
        cpuinfo_has_x86_avx512dq() && cpuinfo_has_x86_avx512vl() && cpuinfo_has_x86_avx512vnni()) {
      mask |= kIsaAvx512Vnni;
    }
  }
#elif defined(__aarch64__)
  mask |= kIsaNeon;
#if defined(__linux__)
  if ((getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0) mask |= kIsaNeonDotprod;
  if ((mask & kIsaNeonDotprod) != 0 && (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0) mask |= kIsaNeonI8mm;
#else
  if (cpuinfo_has_arm_neon_dot()) mask |= kIsaNeonDotprod;
#endif
#endif
  return mask;
}

Result<uint32_t> isa_up_to(const std::string& name) {
  const uint32_t detected = detect_isa();
  uint32_t mask = 0;
  std::string known;
  for (const Level& level : kLevels) {
    mask |= level.bit;
    if (name == level.name) {
      if ((detected & level.bit) == 0) {
        return fail(Code::unsupported, "this machine cannot run ISA level '", name, "'; its highest is '",
                    isa_name(detected), "'");
      }
      return mask & detected;
    }
    known += cat(known.empty() ? "" : ", ", level.name);
  }
  return fail(Code::invalid_argument, "unknown ISA level '", name, "'; known here: ", known);
}

Result<uint32_t> choose_isa(const std::string& forced) {
  if (!forced.empty()) return isa_up_to(forced);
  if (const char* env = std::getenv("MINNOW_ISA"); env != nullptr && *env != '\0') {
    auto mask = isa_up_to(env);
    if (!mask.ok()) return std::move(mask).status().within("MINNOW_ISA");
    return mask;
  }
  return detect_isa();
}

const char* isa_name(uint32_t mask) {
  const char* name = "none";
  for (const Level& level : kLevels) {
    if ((mask & level.bit) != 0) name = level.name;
  }
  return name;
}

uint32_t default_thread_count() {
  uint32_t allowed = 1;
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    allowed = static_cast<uint32_t>(std::max(1, CPU_COUNT(&set)));
#endif
  if (!cpuinfo_initialize()) return allowed;
  // On mixed clusters the slow cores hold the others up at every barrier: count only the cores whose
  // cluster is as fast as the fastest, or all when nothing is known of frequencies.
  uint64_t best = 0;
  for (uint32_t i = 0; i < cpuinfo_get_cores_count(); ++i) {
    best = std::max(best, cpuinfo_get_core(i)->frequency);
  }
  uint32_t fast = 0;
  for (uint32_t i = 0; i < cpuinfo_get_cores_count(); ++i) {
    if (cpuinfo_get_core(i)->frequency * 10 >= best * 7) ++fast;
  }
  return std::max(1u, std::min(allowed, fast));
}

std::string cpu_name() {
  if (!cpuinfo_initialize() || cpuinfo_get_packages_count() == 0) return "unknown";
  return cpuinfo_get_package(0)->name;
}

}  // namespace minnow
