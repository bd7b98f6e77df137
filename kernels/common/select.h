// The one way a variant is chosen. For selectors only: ISA files never include this.
#pragma once

#include <stddef.h>
#include <stdint.h>

// Lists are best first and end in scalar, whose bit every mask is given here: there is always an answer.
template <class Kernel, class Op, size_t count>
const Kernel* select_variant(const Kernel (&variants)[count], Op op, uint32_t isa_mask) {
  for (const Kernel& kernel : variants) {
    if (kernel.op == op && (kernel.isa & (isa_mask | 1u)) != 0) return &kernel;
  }
  return nullptr;
}
