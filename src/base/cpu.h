// What this machine can run. Features come from cpuinfo, corrected by what the operating system
// enables (XCR0) and by HWCAP2 where the packaged cpuinfo is too old to know i8mm.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"

namespace minnow {

/// MinnowIsa bits (kernels/common/isa.h) this machine can run; scalar is always among them.
uint32_t detect_isa();

/// The bits at or below a named level ("scalar", "avx2", "avxvnni", "avx512vnni", "neon",
/// "neon_dotprod", "neon_i8mm"), cut to what the machine has. Errors: an unknown name, or a level
/// this machine lacks.
Result<uint32_t> isa_up_to(const std::string& name);

/// The mask to use: `forced` if not empty, else the environment's MINNOW_ISA, else all detected.
Result<uint32_t> choose_isa(const std::string& forced);

/// Name of the highest level in a mask.
const char* isa_name(uint32_t mask);

/// Threads worth using: performance cores within the process's affinity mask.
uint32_t default_thread_count();

/// Name of the processor for reports.
std::string cpu_name();

}  // namespace minnow
