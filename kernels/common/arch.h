// Which ISA files this build compiles. variants.inc lines are guarded by these two macros and nothing else.
#pragma once

#if defined(__x86_64__)
#define MINNOW_X86_64 1
#else
#define MINNOW_X86_64 0
#endif

#if defined(__aarch64__)
#define MINNOW_AARCH64 1
#else
#define MINNOW_AARCH64 0
#endif
