// Products of every instruction set this machine has, against sums of long doubles.
#include "compress/product/product.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "base/cpu.h"
#include "compress/product/variants.h"
#include "kernels/common/isa.h"

namespace minnow::testing {
namespace {

using namespace compress;

template <typename T>
struct Variant {
  const char* name;
  void (*fn)(const Product<T>&);
};

template <typename T>
std::vector<Variant<T>> variants() {
  std::vector<Variant<T>> all = {{"any", product_any}, {"the machine's", multiply}};
#if defined(__x86_64__)
  if ((detect_isa() & kIsaAvx2) != 0) all.push_back({"avx2", product_avx2});
  if ((detect_isa() & kIsaAvx512Vnni) != 0) all.push_back({"avx512", product_avx512});
#endif
  return all;
}

template <typename T>
class ProductOf : public ::testing::Test {};
using Numbers = ::testing::Types<float, double>;
TYPED_TEST_SUITE(ProductOf, Numbers);

/// a (rows, cols) in rows `stride` apart, or turned; what lies between rows is infinite and must not count.
template <typename T>
struct Given {
  size_t rows, cols, stride;
  bool turned;
  std::vector<T> data;

  Given(size_t r, size_t c, size_t spare, bool t, std::mt19937& random)
      : rows(r), cols(c), stride((t ? r : c) + spare), turned(t) {
    data.assign((t ? c : r) * stride, static_cast<T>(INFINITY));
    std::normal_distribution<double> number;
    for (size_t i = 0; i < rows; ++i) {
      for (size_t j = 0; j < cols; ++j)
        data[turned ? j * stride + i : i * stride + j] = static_cast<T>(number(random));
    }
  }
  T at(size_t i, size_t j) const { return data[turned ? j * stride + i : i * stride + j]; }
};

TYPED_TEST(ProductOf, IsTheSumOfProducts) {
  using T = TypeParam;
  using Into = typename Product<T>::Into;
  std::mt19937 random(1);
  const size_t sizes[][3] = {{1, 1, 1},   {1, 33, 7},    {5, 1, 64},     {3, 64, 65},   {17, 19, 3},
                             {64, 64, 1}, {31, 48, 129}, {130, 70, 400}, {7, 640, 2048}};
  for (const Variant<T>& variant : variants<T>()) {
    for (const auto& [m, n, k] : sizes) {
      for (int form = 0; form < 12; ++form) {
        const bool turn_a = (form & 1) != 0, turn_b = (form & 2) != 0;
        const Into into = form / 4 == 0 ? Into::set : form / 4 == 1 ? Into::add : Into::subtract;
        const Given<T> a(m, k, form % 3, turn_a, random), b(k, n, form % 5, turn_b, random);
        const Given<T> before(m, n, 3, false, random);
        std::vector<T> c = before.data;
        variant.fn({{a.data.data(), a.stride, turn_a},
                    {b.data.data(), b.stride, turn_b},
                    c.data(),
                    before.stride,
                    m,
                    n,
                    k,
                    into});
        for (size_t i = 0; i < m; ++i) {
          for (size_t j = 0; j < n; ++j) {
            long double sum = 0.0L, most = 0.0L;
            for (size_t l = 0; l < k; ++l) {
              const long double p = static_cast<long double>(a.at(i, l)) * b.at(l, j);
              sum += p, most += std::fabs(p);
            }
            const long double start = into == Into::set ? 0.0L : before.at(i, j);
            const long double wanted = into == Into::subtract ? start - sum : start + sum;
            // One rounding an addition at most, each of no more than all terms together, and one a product.
            const long double bound = static_cast<long double>(k + 2) * std::numeric_limits<T>::epsilon() *
                                      (most + std::fabs(start));
            ASSERT_LE(std::fabs(c[i * before.stride + j] - wanted), bound)
                << variant.name << ": " << m << " x " << n << " of " << k << ", form " << form << ", at " << i
                << ", " << j;
          }
        }
        for (size_t i = 0; i + 1 < m; ++i) {
          for (size_t j = n; j < before.stride; ++j)
            ASSERT_TRUE(std::isinf(c[i * before.stride + j])) << variant.name << " wrote between rows";
        }
      }
    }
  }
}

TYPED_TEST(ProductOf, NothingToSumIsZero) {
  using T = TypeParam;
  for (const Variant<T>& variant : variants<T>()) {
    T c[4] = {1, 2, 3, 4};
    Product<T> p = {{nullptr, 0, false}, {nullptr, 2, false}, c, 2, 2, 2, 0, Product<T>::Into::add};
    variant.fn(p);
    EXPECT_EQ(c[3], T{4}) << variant.name;
    p.into = Product<T>::Into::set;
    variant.fn(p);
    for (const T v : c) EXPECT_EQ(v, T{0}) << variant.name;
  }
}

}  // namespace
}  // namespace minnow::testing
