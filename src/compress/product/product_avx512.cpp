#define MINNOW_EIGEN minnow_eigen_avx512
#include "compress/product/body.h"

namespace minnow::compress {

void product_avx512(const Product<float>& p) {
  product(p);
}
void product_avx512(const Product<double>& p) {
  product(p);
}

}  // namespace minnow::compress
