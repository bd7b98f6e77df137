#include "kernels/linear_q8/linear_q8.h"

#include "kernels/support.h"

MINNOW_PRINT_KERNEL(LinearQ8Kernel)

namespace {

using kernel_test::Aligned;
using kernel_test::Guarded;

const LinearQ8Kernel kAll[] = {
#define MINNOW_KERNEL(op, symbol, isa) {LinearQ8Op::op, #symbol, symbol, isa},
#include "kernels/linear_q8/variants.inc"
#undef MINNOW_KERNEL
};

// What the codes and the activations are made of.
enum class Fill { random, largest_positive, largest_negative, alternating };

struct Shape {
  size_t m, n0, n1, k, group;
};

struct Options {
  bool accumulate = false, bias = false, zeros = false;
  Fill fill = Fill::random;
};

class LinearQ8 : public kernel_test::KernelTest<LinearQ8Kernel> {
 protected:
  uint8_t code(Fill fill, size_t i) {
    switch (fill) {
      case Fill::largest_positive:
        return 255;
      case Fill::largest_negative:
        return 0;
      case Fill::alternating:
        return i % 2 == 0 ? 255 : 0;
      case Fill::random:
        break;
    }
    return (uint8_t)random.integer(0, 255);
  }
  int8_t activation(Fill fill, size_t i) {
    if (fill == Fill::random) return (int8_t)random.integer(-127, 127);
    return fill == Fill::alternating && i % 2 != 0 ? (int8_t)-127 : (int8_t)127;
  }

  void check(Shape s, Options o) {
    SCOPED_TRACE(testing::Message() << "M " << s.m << " n [" << s.n0 << ", " << s.n1 << ") K " << s.k
                                    << " group " << s.group << " zeros " << o.zeros << " fill "
                                    << (int)o.fill);
    const size_t n = s.n1, groups = (s.k + s.group - 1) / s.group;
    const size_t stride = (s.k + 63) / 64 * 64, y_stride = n + 3;
    Aligned w(n * stride), scales(n * groups * 2), zeros(n * groups);
    Guarded<int8_t> x(s.m * s.k);
    Guarded<float> xs(s.m * groups), bias(n), y(s.m * y_stride);
    Guarded<int32_t> xsum(s.m * groups);
    for (size_t i = 0; i < n * stride + 64; ++i) w.data()[i] = (char)code(o.fill, i);
    // What lies behind a row or the last scale may be anything, also NaN.
    std::memset(scales.data(), 0xff, n * groups * 2 + 64);
    for (size_t i = 0; i < n * groups; ++i) {
      ((uint16_t*)scales.data())[i] = (uint16_t)(kernel_test::random_f16(random) & 0x7fff);
      zeros.data()[i] = (char)random.integer(0, 255);
    }
    for (size_t i = 0; i < s.m * s.k; ++i) x[i] = activation(o.fill, i);
    for (size_t m = 0; m < s.m; ++m) {
      for (size_t i = 0; i < s.k; ++i) xsum[m * groups + i / s.group] += x[m * s.k + i];
    }
    for (float& v : xs) v = random.uniform(0, 1);
    for (float& v : bias) v = random.normal();
    for (float& v : y) v = random.normal();
    const std::vector<float> before(y.begin(), y.end());

    LinearQ8Args args{};
    args.xq = x.data(), args.xq_stride = s.k, args.xs = xs.data(), args.xsum = xsum.data(),
    args.xs_stride = groups;
    args.w = (const uint8_t*)w.data(), args.w_stride = stride;
    args.ws = (const uint16_t*)scales.data(), args.ws_stride = groups * 2;
    args.wz = o.zeros ? (const uint8_t*)zeros.data() : nullptr, args.wz_stride = groups;
    args.bias = o.bias ? bias.data() : nullptr;
    args.y = y.data(), args.y_stride = y_stride;
    args.m = s.m, args.n0 = s.n0, args.n1 = s.n1, args.k = s.k, args.group = s.group;
    args.accumulate = o.accumulate;
    GetParam().fn(&args);

    for (size_t m = 0; m < s.m; ++m) {
      for (size_t r = 0; r < y_stride; ++r) {
        const float got = y[m * y_stride + r];
        if (r < s.n0 || r >= s.n1) {
          ASSERT_EQ(got, before[m * y_stride + r]) << "outside [n0, n1): m " << m << " n " << r;
          continue;
        }
        double sum = 0, size = 0;
        for (size_t g = 0; g < groups; ++g) {
          int64_t dot = 0, products = 0;
          for (size_t i = g * s.group; i < std::min(s.k, (g + 1) * s.group); ++i) {
            const int64_t q = (uint8_t)w.data()[r * stride + i], xq = x[m * s.k + i];
            dot += (q - 128) * xq, products += std::abs(q * xq);
          }
          const int64_t zero = o.zeros ? (uint8_t)zeros.data()[r * groups + g] : 128;
          const int64_t rest = (128 - zero) * xsum[m * groups + g];
          const double scale = kernel_test::value_of_f16(((const uint16_t*)scales.data())[r * groups + g]) *
                               (double)xs[m * groups + g];
          sum += scale * (double)(dot + rest);
          size += std::abs(scale) * (double)(products + 256 * std::abs(xsum[m * groups + g]));
        }
        const double start = o.accumulate ? before[m * y_stride + r] : o.bias ? bias[r] : 0.0;
        const double bound = ((double)groups + 8) * 0x1p-23 * (size + std::abs(start));
        ASSERT_NEAR(got, sum + start, bound) << "m " << m << " n " << r;
      }
    }
  }
};

TEST_P(LinearQ8, EveryTailOfKAndNumberOfColumns) {
  for (size_t group : {32, 64, 128}) {
    for (size_t k : {32, 64, 96, 160, 224, 544, 576, 896}) {
      for (size_t m = 1; m <= 9; ++m) check({m, 0, 5, k, group}, {});
    }
  }
}

TEST_P(LinearQ8, MoreGroupsThanAnyBlock) {
  for (size_t group : {32, 64, 128}) {
    for (size_t m : {1, 3}) check({m, 0, 4, 33 * group + 32, group}, {});
  }
}

TEST_P(LinearQ8, AnyPortionOfRows) {
  for (size_t n0 = 0; n0 <= 5; ++n0) {
    for (size_t n1 = n0; n1 <= 11; ++n1)
      check({3, n0, n1, 160, 64}, {.accumulate = n1 % 2 == 0, .bias = n1 % 3 == 0});
  }
}

TEST_P(LinearQ8, BiasAccumulateAndZeros) {
  for (int bits = 0; bits < 8; ++bits) {
    for (size_t group : {32, 64, 128}) {
      check({5, 1, 10, 224, group},
            {.accumulate = (bits & 1) != 0, .bias = (bits & 2) != 0, .zeros = (bits & 4) != 0});
    }
  }
}

TEST_P(LinearQ8, ExtremeCodesDoNotOverflow) {
  for (Fill fill : {Fill::largest_positive, Fill::largest_negative, Fill::alternating}) {
    for (size_t group : {32, 64, 128}) {
      for (size_t m : {1, 2, 4}) {
        check({m, 0, 4, 1024, group}, {.fill = fill});
        check({m, 0, 4, 1024, group}, {.zeros = true, .fill = fill});
      }
    }
  }
}

TEST_P(LinearQ8, NanScalesGiveNan) {
  Aligned w(256), scales(64);
  std::memset(scales.data(), 0xff, 64);
  Guarded<int8_t> x(64);
  Guarded<float> xs(2), y(1);
  Guarded<int32_t> xsum(2);
  x[0] = 1, xs[0] = 1, xsum[0] = 1;
  LinearQ8Args args{};
  args.xq = x.data(), args.xs = xs.data(), args.xsum = xsum.data(), args.w = (const uint8_t*)w.data();
  args.ws = (const uint16_t*)scales.data(), args.y = y.data();
  args.w_stride = 64, args.ws_stride = 4, args.m = 1, args.n1 = 1, args.k = 64, args.group = 32;
  GetParam().fn(&args);
  EXPECT_TRUE(std::isnan(y[0]));
}

MINNOW_KERNEL_SUITE(LinearQ8, LinearQ8Kernel, kAll);

}  // namespace
