// read_wall: reads memory and does nothing else, to measure how fast this machine can stream it.
//
//   *result = xor of the 64-bit words of [data, data + bytes)
//
// The value keeps the loads alive and proves they all happened. bytes is a multiple of 64, data 64-byte
// aligned. Portions combine by xor, so that callers can split a range among threads.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"

struct ReadWallArgs {
  const void* data;
  size_t bytes;
  uint64_t* result;
};

enum class ReadWallOp { read_sum };

typedef void (*ReadWallFn)(const ReadWallArgs* args);

struct ReadWallKernel {
  ReadWallOp op;
  const char* name;
  ReadWallFn fn;
  uint32_t isa;
};

#define MINNOW_KERNEL(op, symbol, isa) extern "C" void symbol(const ReadWallArgs* args);
#include "kernels/read_wall/variants.inc"
#undef MINNOW_KERNEL

const ReadWallKernel* select_read_wall(ReadWallOp op, uint32_t isa_mask);
