#define MINNOW_EIGEN minnow_eigen_any
#include "compress/product/body.h"

namespace minnow::compress {

void product_any(const Product<float>& p) {
  product(p);
}
void product_any(const Product<double>& p) {
  product(p);
}

}  // namespace minnow::compress
