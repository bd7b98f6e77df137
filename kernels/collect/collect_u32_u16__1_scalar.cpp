// The reference: the contract, literally.
#include "kernels/collect/collect.h"

extern "C" void collect_u32_u16__1_scalar(const CollectArgs* args) {
  size_t count = 0;
  for (size_t i = 0; i < args->n; ++i) {
    const uint32_t id = args->ids[i] % kCollectIds;
    if (args->ids[i] > args->above || ((args->wanted[id >> 5] >> (id & 31)) & 1) != 0)
      args->list[count++] = args->base + (uint32_t)i;
  }
  *args->count = count;
}
