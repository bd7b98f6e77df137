// collect: where the wanted ids are.
//
//   wanted(id) = id > above, or bit (c & 31) of wanted[c >> 5] where c = id mod kCollectIds
//   list       = base + i for every i in [0, n) with wanted(ids[i]), ascending
//   *count     = how many those are
//
// ids any: what lies above their lowest bits matters to the comparison alone, and nothing is above 0xffff.
// wanted is aligned to 64 bytes. n any. list has room for n rounded up to kCollectSlack: variants write past
// the last entry, never past that. ids are read within n elements only. Alignment of the rest: natural. Made
// for few wanted ids, 1 to 8 in a hundred.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/common/arch.h"
#include "kernels/common/isa.h"

struct CollectArgs {
  const uint16_t* ids;
  size_t n;
  const uint32_t* wanted;  // [kCollectIds / 32]
  uint16_t above;
  uint32_t* list;
  uint32_t base;
  size_t* count;
};

static constexpr size_t kCollectIds = 1024;
static constexpr size_t kCollectSlack = 64;

enum class CollectOp { collect_u32_u16 };

typedef void (*CollectFn)(const CollectArgs* args);

struct CollectKernel {
  CollectOp op;
  const char* name;
  CollectFn fn;
  uint32_t isa;
};

#define MINNOW_KERNEL(op, symbol, isa) extern "C" void symbol(const CollectArgs* args);
#include "kernels/collect/variants.inc"
#undef MINNOW_KERNEL

const CollectKernel* select_collect(CollectOp op, uint32_t isa_mask);
