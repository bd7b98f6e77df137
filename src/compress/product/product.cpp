#include "compress/product/product.h"

#include "base/cpu.h"
#include "compress/product/variants.h"
#include "kernels/common/isa.h"

namespace minnow::compress {
namespace {

template <typename T>
void on_this_machine(const Product<T>& p) {
  if (p.m == 0 || p.n == 0) return;
#if defined(__x86_64__)
  static const uint32_t isa = detect_isa();
  if ((isa & kIsaAvx512Vnni) != 0) return product_avx512(p);
  if ((isa & kIsaAvx2) != 0) return product_avx2(p);
#endif
  product_any(p);
}

}  // namespace

void multiply(const Product<float>& p) {
  on_this_machine(p);
}
void multiply(const Product<double>& p) {
  on_this_machine(p);
}

}  // namespace minnow::compress
