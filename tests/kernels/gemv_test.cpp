// gemv_panel, gemv_row, gemv_channel: every variant against sums in double and int64.
#include "kernels/gemv_channel/gemv_channel.h"
#include "kernels/gemv_panel/gemv_panel.h"
#include "kernels/gemv_row/gemv_row.h"
#include "kernels/quantised_support.h"

MINNOW_PRINT_KERNEL(GemvPanelKernel)
MINNOW_PRINT_KERNEL(GemvRowKernel)
MINNOW_PRINT_KERNEL(GemvChannelKernel)

namespace {

using kernel_test::Expected;
using kernel_test::Fill;
using kernel_test::Guarded;
using kernel_test::Inputs;
using kernel_test::Layout;
using kernel_test::Packed;
using kernel_test::Weights;

const GemvPanelKernel kPanels[] = {
#define MINNOW_KERNEL(op, symbol, isa) {GemvPanelOp::op, #symbol, symbol, isa},
#include "kernels/gemv_panel/variants.inc"
#undef MINNOW_KERNEL
};
const GemvRowKernel kRows[] = {
#define MINNOW_KERNEL(op, symbol, isa) {GemvRowOp::op, #symbol, symbol, isa},
#include "kernels/gemv_row/variants.inc"
#undef MINNOW_KERNEL
};
const GemvChannelKernel kChannels[] = {
#define MINNOW_KERNEL(op, symbol, isa) {GemvChannelOp::op, #symbol, symbol, isa},
#include "kernels/gemv_channel/variants.inc"
#undef MINNOW_KERNEL
};

struct Case {
  size_t rows, k, group;
  int bits;
  size_t m = 1;
  bool zeros = true, accumulate = false, bias = false;
  Fill fill = Fill::random;
};

testing::Message describe(const Case& c) {
  return testing::Message() << "rows " << c.rows << " k " << c.k << " group " << c.group << " bits " << c.bits
                            << " m " << c.m << " zeros " << c.zeros << " fill " << (int)c.fill;
}

constexpr int kWidths[] = {2, 3, 4, 8};
constexpr size_t kGroups[] = {32, 64, 128};

template <class Check>
void tails(const Check& check) {
  for (int bits : kWidths) {
    for (size_t group : kGroups) {
      for (size_t k : {32, 64, 96, 128, 160, 224, 256, 288, 576, 896}) check(Case{21, k, group, bits});
    }
  }
}

template <class Check>
void extremes(const Check& check) {
  for (int bits : kWidths) {
    for (Fill fill : {Fill::largest, Fill::alternating}) {
      for (bool zeros : {false, true})
        check(Case{.rows = 33, .k = 1056, .group = 128, .bits = bits, .zeros = zeros, .fill = fill});
    }
  }
}

template <class Check>
void many_groups(const Check& check) {
  for (int bits : kWidths) check(Case{17, 32 * 150 + 32, 32, bits});
}

class GemvPanel : public kernel_test::KernelTest<GemvPanelKernel> {
 protected:
  void check(Case c) {
    for (size_t n0 = 0; n0 < c.rows; n0 += 16) check(c, n0, c.rows);
    check(c, 0, c.rows / 16 * 16);
  }
  void check(Case c, size_t n0, size_t n1) {
    SCOPED_TRACE(describe(c) << " n0 " << n0);
    const Weights w = kernel_test::random_weights(random, c.rows, c.k, c.group, c.bits, c.zeros, c.fill);
    const Packed packed = kernel_test::pack(w, Layout::panel);
    Inputs x(random, c.m, c.k, c.group, c.fill);
    Guarded<float> y(c.m * c.rows), bias(c.rows);
    for (float& v : y) v = random.normal();
    for (float& v : bias) v = random.normal();
    const std::vector<float> before(y.begin(), y.end());
    const GemvPanelArgs args{
        packed.view, x.view(),    c.bias ? bias.data() : nullptr, y.data(), c.rows, c.m, n0, n1,
        c.k,         c.accumulate};
    GetParam().fn(&args);
    for (size_t m = 0; m < c.m; ++m) {
      for (size_t r = 0; r < c.rows; ++r) {
        const float old = before[m * c.rows + r], got = y[m * c.rows + r];
        if (r < n0 || r >= n1) {
          ASSERT_EQ(got, old);
          continue;
        }
        const Expected e = kernel_test::expected(w, x, r, m, 0, c.k);
        const double start = c.accumulate ? old : c.bias ? bias[r] : 0.0f;
        ASSERT_NEAR(got, e.value + start, e.bound + std::abs(start) * 0x1p-22) << "m " << m << " row " << r;
      }
    }
  }
};

TEST_P(GemvPanel, EveryTail) {
  tails([&](Case c) { check(c); });
}
TEST_P(GemvPanel, Extremes) {
  extremes([&](Case c) { check(c); });
}
TEST_P(GemvPanel, ManyGroups) {
  many_groups([&](Case c) { check(c); });
}
TEST_P(GemvPanel, EveryNumberOfColumns) {
  for (int bits : kWidths) {
    for (size_t m = 1; m <= 9; ++m) check({.rows = 40, .k = 160, .group = 64, .bits = bits, .m = m});
  }
}
TEST_P(GemvPanel, BiasAndAccumulate) {
  for (int flags = 0; flags < 4; ++flags) {
    for (size_t rows : {1, 15, 16, 17, 24, 47}) {
      check({.rows = rows,
             .k = 96,
             .group = 32,
             .bits = 4,
             .m = 3,
             .accumulate = (flags & 1) != 0,
             .bias = (flags & 2) != 0});
    }
  }
}
MINNOW_KERNEL_SUITE(GemvPanel, GemvPanelKernel, kPanels);

class GemvRow : public kernel_test::KernelTest<GemvRowKernel> {
 protected:
  /// Some of the rows, none and all: each as the dense call has it, times its factor, the others untouched.
  void check_listed(const GemvRowArgs& dense, const std::vector<float>& before, size_t n1) {
    for (const int percent : {0, 30, 50, 100}) {
      std::vector<uint32_t> chosen;
      std::vector<float> want = before;
      Guarded<float> factors(n1), y(n1);
      for (float& f : factors) f = random.normal();
      for (size_t r = dense.n0; r < n1; ++r) {
        if (random.integer(0, 99) >= percent) continue;
        chosen.push_back((uint32_t)r);
        want[r] = dense.y[r] * factors[r];
      }
      std::copy(before.begin(), before.end(), y.begin());
      Guarded<uint32_t> rows(chosen.size());
      std::copy(chosen.begin(), chosen.end(), rows.begin());
      GemvRowArgs args = dense;
      args.y = y.data(), args.rows = rows.data(), args.factors = factors.data();
      args.n0 = 0, args.n1 = chosen.size();
      GetParam().fn(&args);
      for (size_t r = 0; r < n1; ++r) ASSERT_EQ(y[r], want[r]) << percent << " % of rows, row " << r;
    }
  }
  void check(Case c) {
    check(c, 0, c.rows);
    check(c, 3, c.rows);
    if (c.rows > 2) check(c, 0, c.rows - 2);
  }
  void check(Case c, size_t n0, size_t n1) {
    if (n0 >= n1) return;
    SCOPED_TRACE(describe(c) << " n0 " << n0);
    const Weights w = kernel_test::random_weights(random, c.rows, c.k, c.group, c.bits, c.zeros, c.fill);
    const Packed packed = kernel_test::pack(w, Layout::row);
    Inputs x(random, 1, c.k, c.group, c.fill);
    Guarded<float> y(n1), bias(n1);
    for (float& v : y) v = random.normal();
    for (float& v : bias) v = random.normal();
    const std::vector<float> before(y.begin(), y.end());
    const GemvRowArgs args{
        packed.view, x.view(), c.bias ? bias.data() : nullptr, y.data(), n0, n1, c.k, c.accumulate,
        nullptr,     nullptr};
    GetParam().fn(&args);
    check_listed(args, before, n1);
    for (size_t r = 0; r < n1; ++r) {
      if (r < n0) {
        ASSERT_EQ(y[r], before[r]);
        continue;
      }
      const Expected e = kernel_test::expected(w, x, r, 0, 0, c.k);
      const double start = c.accumulate ? before[r] : c.bias ? bias[r] : 0.0f;
      ASSERT_NEAR(y[r], e.value + start, e.bound + std::abs(start) * 0x1p-22) << "row " << r;
    }
  }
};

TEST_P(GemvRow, EveryTail) {
  tails([&](Case c) { check(c); });
}
TEST_P(GemvRow, Extremes) {
  extremes([&](Case c) { check(c); });
}
TEST_P(GemvRow, ManyGroups) {
  many_groups([&](Case c) { check(c); });
}
TEST_P(GemvRow, BiasAndAccumulate) {
  for (int flags = 0; flags < 4; ++flags) {
    for (size_t rows : {1, 2, 3, 4, 5, 9}) {
      check({.rows = rows,
             .k = 96,
             .group = 32,
             .bits = 4,
             .accumulate = (flags & 1) != 0,
             .bias = (flags & 2) != 0});
    }
  }
}
MINNOW_KERNEL_SUITE(GemvRow, GemvRowKernel, kRows);

class GemvChannel : public kernel_test::KernelTest<GemvChannelKernel> {
 protected:
  /// Masked activations: with a list the same to the bit as without. Codes of channels outside the list are
  /// not looked at, some of those in it are zero, groups are empty, full, odd.
  void check_listed(const GemvChannelArgs& dense, const Case& c, const std::vector<float>& before,
                    Inputs& x) {
    for (const int percent : {0, 5, 37, 50, 90, 100}) {
      std::vector<uint32_t> kept, starts(1, 0);
      for (size_t g = 0; g * c.group < c.k; ++g) {
        int sum = 0;
        const int share = random.integer(0, 3) == 0 ? 0 : percent;
        for (size_t i = g * c.group; i < std::min(c.k, (g + 1) * c.group); ++i) {
          const bool keep = random.integer(0, 99) < share;
          if (keep) kept.push_back((uint32_t)i);
          if (!keep || random.integer(0, 9) == 0) x.codes[i] = 0;
          sum += x.codes[i];
        }
        starts.push_back((uint32_t)kept.size());
        x.zs[g] = x.scales[g] * (float)sum;
      }
      Guarded<uint32_t> list(kept.size());
      std::copy(kept.begin(), kept.end(), list.begin());
      Guarded<float> y(c.rows);
      std::copy(before.begin(), before.end(), dense.y);
      std::copy(before.begin(), before.end(), y.begin());
      GetParam().fn(&dense);
      GemvChannelArgs args = dense;
      args.y = y.data(), args.list = list.data(), args.starts = starts.data();
      GetParam().fn(&args);
      for (size_t r = 0; r < c.rows; ++r)
        ASSERT_EQ(y[r], dense.y[r]) << percent << " % of channels, output " << r;
    }
  }
  void check(Case c) {
    check(c, 0, c.k);
    if (c.k > c.group) check(c, c.group, c.k);
    if (c.k > c.group) check(c, 0, c.group);
  }
  void check(Case c, size_t k0, size_t k1) {
    SCOPED_TRACE(describe(c) << " k0 " << k0 << " k1 " << k1);
    const Weights w = kernel_test::random_weights(random, c.rows, c.k, c.group, c.bits, c.zeros, c.fill);
    const Packed packed = kernel_test::pack(w, Layout::channel);
    Inputs x(random, 1, c.k, c.group, c.fill);
    Guarded<float> y(c.rows);
    Guarded<int32_t> sums(kernel_test::up(c.rows, kChannelSums));
    for (float& v : y) v = random.normal();
    const std::vector<float> before(y.begin(), y.end());
    const GemvChannelArgs args{packed.view, x.view(), y.data(),     sums.data(), c.rows,
                               k0,          k1,       c.accumulate, nullptr,     nullptr};
    GetParam().fn(&args);
    for (size_t r = 0; r < c.rows; ++r) {
      const Expected e = kernel_test::expected(w, x, r, 0, k0, k1);
      const double start = c.accumulate ? before[r] : 0.0f;
      ASSERT_NEAR(y[r], e.value + start, e.bound + std::abs(start) * 0x1p-22) << "row " << r;
    }
    check_listed(args, c, before, x);
  }
};

TEST_P(GemvChannel, EveryTail) {
  for (int bits : kWidths) {
    for (size_t group : kGroups) {
      for (size_t rows : {1, 8, 15, 16, 31, 33, 64, 100, 130, 256, 288, 576})
        check(Case{rows, 288, group, bits});
    }
  }
}
TEST_P(GemvChannel, Extremes) {
  extremes([&](Case c) { check(c); });
}
TEST_P(GemvChannel, ManyGroups) {
  many_groups([&](Case c) { check(c); });
}
TEST_P(GemvChannel, Accumulates) {
  for (int bits : kWidths) check({.rows = 70, .k = 96, .group = 32, .bits = bits, .accumulate = true});
}
MINNOW_KERNEL_SUITE(GemvChannel, GemvChannelKernel, kChannels);

}  // namespace
