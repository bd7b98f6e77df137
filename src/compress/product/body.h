// What product_<isa>.cpp are made of. Each defines MINNOW_EIGEN, a name of its own for Eigen's namespace:
// functions of one name compiled for different machines would be taken for each other when linking.
// .ci/checks/kernel_quarantine.sh sees to it that nothing else of these files is.
#pragma once

#define Eigen MINNOW_EIGEN
#define EIGEN_DONT_PARALLELIZE
#define EIGEN_MPL2_ONLY
#include <Eigen/Core>

#include "compress/product/variants.h"

namespace minnow::compress {
namespace {

/// The same on all machines of an instruction set, and with it the order of sums.
constexpr std::ptrdiff_t kFirstLevel = std::ptrdiff_t{32} << 10, kSecondLevel = std::ptrdiff_t{512} << 10,
                         kThirdLevel = std::ptrdiff_t{4} << 20;

template <typename T>
void product(const Product<T>& p) {
  static const bool caches = (Eigen::setCpuCacheSizes(kFirstLevel, kSecondLevel, kThirdLevel), true);
  static_cast<void>(caches);
  using Rows = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Stride = Eigen::OuterStride<>;
  using Given = Eigen::Map<const Rows, Eigen::Unaligned, Stride>;
  using Index = Eigen::Index;
  const auto given = [](const typename Product<T>::Operand& o, size_t rows, size_t cols) {
    if (o.turned) std::swap(rows, cols);
    return Given(o.data, static_cast<Index>(rows), static_cast<Index>(cols),
                 Stride(static_cast<Index>(o.stride)));
  };
  const Given a = given(p.a, p.m, p.k), b = given(p.b, p.k, p.n);
  Eigen::Map<Rows, Eigen::Unaligned, Stride> c(p.c, static_cast<Index>(p.m), static_cast<Index>(p.n),
                                               Stride(static_cast<Index>(p.c_stride)));
  const auto write = [&](const auto& left, const auto& right) {
    using Into = typename Product<T>::Into;
    if (p.into == Into::set)
      c.noalias() = left * right;
    else if (p.into == Into::add)
      c.noalias() += left * right;
    else
      c.noalias() -= left * right;
  };
  if (p.a.turned)
    p.b.turned ? write(a.transpose(), b.transpose()) : write(a.transpose(), b);
  else
    p.b.turned ? write(a, b.transpose()) : write(a, b);
}

}  // namespace
}  // namespace minnow::compress
