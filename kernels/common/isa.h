// Instruction-set levels. The bottom of the house: plain C++ constants, includes nothing of minnow.
#pragma once

#include <stdint.h>

// One bit a level. A machine's mask holds every level it can run; kernels carry the one they need.
enum MinnowIsa : uint32_t {
  kIsaScalar = 1u << 0,       // plain C++, always there
  kIsaAvx2 = 1u << 1,         // AVX2 + FMA + F16C
  kIsaAvxVnni = 1u << 2,      // + AVX-VNNI (256-bit dpbusd)
  kIsaAvx512Vnni = 1u << 3,   // AVX-512 F, BW, DQ, VL, VNNI
  kIsaNeon = 1u << 8,         // Armv8.0 Advanced SIMD
  kIsaNeonDotprod = 1u << 9,  // + sdot/udot
  kIsaNeonI8mm = 1u << 10,    // + smmla/usdot
};
