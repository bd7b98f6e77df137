#define MINNOW_EIGEN minnow_eigen_avx2
#include "compress/product/body.h"

namespace minnow::compress {

void product_avx2(const Product<float>& p) {
  product(p);
}
void product_avx2(const Product<double>& p) {
  product(p);
}

}  // namespace minnow::compress
