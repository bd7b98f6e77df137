// expand and gemm. What expand writes is checked code by code, and together with gemm of the same instruction
// set against sums in double and int64.
#include "kernels/gemm/gemm.h"

#include "kernels/expand/expand.h"
#include "kernels/quantised_support.h"

MINNOW_PRINT_KERNEL(ExpandKernel)
MINNOW_PRINT_KERNEL(GemmKernel)

namespace {

using kernel_test::Expected;
using kernel_test::Fill;
using kernel_test::Guarded;
using kernel_test::Inputs;
using kernel_test::Layout;
using kernel_test::Packed;
using kernel_test::Weights;

const ExpandKernel kExpands[] = {
#define MINNOW_KERNEL(op, symbol, isa) {ExpandOp::op, #symbol, symbol, isa},
#include "kernels/expand/variants.inc"
#undef MINNOW_KERNEL
};
const GemmKernel kGemms[] = {
#define MINNOW_KERNEL(op, symbol, isa) {GemmOp::op, #symbol, symbol, isa},
#include "kernels/gemm/variants.inc"
#undef MINNOW_KERNEL
};

constexpr int kWidths[] = {2, 3, 4, 8};
constexpr Layout kLayouts[] = {Layout::row, Layout::panel, Layout::channel};

// A tile and its memory.
struct Tile {
  size_t rows, k, groups;
  kernel_test::Aligned codes, scales, zeros;
  Tile(size_t rows_, size_t k_, size_t group)
      : rows(rows_),
        k(k_),
        groups((k_ + group - 1) / group),
        codes(rows_ * k_),
        scales(rows_ * groups * 4),
        zeros(rows_ * groups * 4) {}
};

ExpandArgs expand_args(const Weights& w, const Packed& packed, Layout layout, size_t n0, size_t k0,
                       Tile& tile) {
  ExpandArgs args{};
  args.w = packed.view;
  args.layout = layout == Layout::row     ? ExpandLayout::row
                : layout == Layout::panel ? ExpandLayout::panel
                                          : ExpandLayout::channel;
  args.n = w.rows, args.channels = w.k, args.n0 = n0, args.rows = tile.rows, args.k0 = k0,
  args.k1 = k0 + tile.k;
  args.codes = (uint8_t*)tile.codes.data(), args.scales = (float*)tile.scales.data(),
  args.zeros = (float*)tile.zeros.data();
  return args;
}

class Expand : public kernel_test::KernelTest<ExpandKernel> {};

TEST_P(Expand, WritesEveryCode) {
  for (int bits : kWidths) {
    for (Layout layout : kLayouts) {
      for (size_t group : {32, 64, 128}) {
        for (size_t n : {5, 64, 100, 192, 300}) {
          const size_t k = 352;
          const Weights w = kernel_test::random_weights(random, n, k, group, bits, true, Fill::random);
          const Packed packed = kernel_test::pack(w, layout);
          for (size_t n0 = 0; n0 < n; n0 += kExpandRows) {
            for (size_t k0 : {(size_t)0, (size_t)128}) {
              Tile tile(kExpandRows, k - k0, group);
              const ExpandArgs args = expand_args(w, packed, layout, n0, k0, tile);
              GetParam().fn(&args);
              // Minus 128 or not is this instruction set's choice, but one for all, and the zeros follow. It
              // is read off the first code: a random scale may be zero, and its zero then says nothing.
              const int bias = bits == 8 ? ((uint8_t)tile.codes.data()[0] ^ w.code(n0, k0)) & 128 : 0;
              for (size_t r = 0; r < tile.rows; ++r) {
                for (size_t g = 0; g < tile.groups; ++g) {
                  const double s = n0 + r < n ? w.scale(n0 + r, k0 / group + g) : 0.0;
                  const double z = n0 + r < n ? w.zero(n0 + r, k0 / group + g) - bias : 0.0;
                  ASSERT_EQ(args.scales[g * tile.rows + r], (float)s);
                  ASSERT_EQ(args.zeros[g * tile.rows + r], (float)(s * z));
                }
                for (size_t c = 0; n0 + r < n && c < tile.k; ++c) {
                  const uint8_t got = args.codes[(r / 16 * tile.k / 4 + c / 4) * 64 + r % 16 * 4 + c % 4];
                  ASSERT_EQ(got ^ bias, w.code(n0 + r, k0 + c))
                      << "bits " << bits << " layout " << (int)layout << " n " << n << " row " << n0 + r
                      << " channel " << k0 + c;
                }
              }
            }
          }
        }
      }
    }
  }
}
MINNOW_KERNEL_SUITE(Expand, ExpandKernel, kExpands);

class Gemm : public kernel_test::KernelTest<GemmKernel> {
 protected:
  void check(size_t rows, size_t k, size_t group, int bits, size_t m, Layout layout, Fill fill, int flags) {
    SCOPED_TRACE(testing::Message() << "rows " << rows << " k " << k << " group " << group << " bits " << bits
                                    << " m " << m << " layout " << (int)layout << " fill " << (int)fill);
    const bool accumulate = (flags & 1) != 0, with_bias = (flags & 2) != 0;
    const Weights w = kernel_test::random_weights(random, rows, k, group, bits, (flags & 4) != 0, fill);
    const Packed packed = kernel_test::pack(w, layout);
    Inputs x(random, m, k, group, fill);
    Tile tile(kernel_test::up(rows, 16), k, group);
    const ExpandArgs expand = expand_args(w, packed, layout, 0, 0, tile);
    // Of this level or, where it has none of its own, of the one below.
    select_expand(ExpandOp::expand_u8_wn, GetParam().isa * 2 - 1)->fn(&expand);
    Guarded<float> y(m * rows), bias(rows);
    for (float& v : y) v = random.normal();
    for (float& v : bias) v = random.normal();
    const std::vector<float> before(y.begin(), y.end());
    GemmArgs args{};
    args.codes = expand.codes, args.scales = expand.scales, args.zeros = expand.zeros;
    args.rows = tile.rows, args.k = k, args.group = group, args.bits = bits;
    args.x = x.view(), args.m = m, args.n = rows;
    args.bias = with_bias ? bias.data() : nullptr, args.y = y.data(), args.y_stride = rows,
    args.accumulate = accumulate;
    GetParam().fn(&args);
    for (size_t c = 0; c < m; ++c) {
      for (size_t r = 0; r < rows; ++r) {
        const Expected e = kernel_test::expected(w, x, r, c, 0, k);
        const double start = accumulate ? before[c * rows + r] : with_bias ? bias[r] : 0.0f;
        ASSERT_NEAR(y[c * rows + r], e.value + start, e.bound + std::abs(start) * 0x1p-22)
            << "m " << c << " row " << r;
      }
    }
  }
};

TEST_P(Gemm, EveryNumberOfColumns) {
  for (int bits : kWidths) {
    for (size_t m = 1; m <= 26; ++m) check(48, 160, 64, bits, m, Layout::panel, Fill::random, 4);
  }
}
TEST_P(Gemm, EveryNumberOfRows) {
  for (Layout layout : kLayouts) {
    for (size_t rows : {1, 7, 15, 16, 17, 31, 33, 64, 70, 128})
      check(rows, 96, 32, 3, 5, layout, Fill::random, (int)rows % 8);
  }
}
TEST_P(Gemm, Extremes) {
  for (int bits : kWidths) {
    for (Fill fill : {Fill::largest, Fill::alternating}) {
      for (size_t group : {32, 64, 128}) check(32, 544, group, bits, 13, Layout::panel, fill, 4);
    }
  }
}
MINNOW_KERNEL_SUITE(Gemm, GemmKernel, kGemms);

}  // namespace
