// The instruction sets that product_<isa>.cpp are compiled for.
#pragma once

#include "compress/product/product.h"

namespace minnow::compress {

void product_any(const Product<float>& p);
void product_any(const Product<double>& p);
#if defined(__x86_64__)
void product_avx2(const Product<float>& p);
void product_avx2(const Product<double>& p);
void product_avx512(const Product<float>& p);
void product_avx512(const Product<double>& p);
#endif

}  // namespace minnow::compress
