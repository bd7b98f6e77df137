// The reference: the contract, literally.
#include "kernels/at_least/at_least.h"

extern "C" void at_least_u32_f32__1_scalar(const AtLeastArgs* args) {
  size_t count = 0;
  for (size_t i = 0; i < args->n; ++i) {
    if (args->x[i] >= args->least) args->list[count++] = (uint32_t)i;
  }
  *args->count = count;
}
