// norm, activation, rope, axpy: everything that works element by element along a row.
#include "kernels/activation/activation.h"
#include "kernels/axpy/axpy.h"
#include "kernels/norm/norm.h"
#include "kernels/rope/rope.h"
#include "kernels/support.h"
#include "kernels/threshold/threshold.h"

MINNOW_PRINT_KERNEL(NormKernel)
MINNOW_PRINT_KERNEL(ActivationKernel)
MINNOW_PRINT_KERNEL(RopeKernel)
MINNOW_PRINT_KERNEL(AxpyKernel)
MINNOW_PRINT_KERNEL(ThresholdKernel)

namespace {

using kernel_test::Guarded;

#define MINNOW_KERNEL(op, symbol, isa) {MINNOW_OP::op, #symbol, symbol, isa},
#define MINNOW_OP NormOp
const NormKernel kAllNorms[] = {
#include "kernels/norm/variants.inc"
};
#undef MINNOW_OP
#define MINNOW_OP ActivationOp
const ActivationKernel kAllActivations[] = {
#include "kernels/activation/variants.inc"
};
#undef MINNOW_OP
#define MINNOW_OP RopeOp
const RopeKernel kAllRopes[] = {
#include "kernels/rope/variants.inc"
};
#undef MINNOW_OP
#define MINNOW_OP AxpyOp
const AxpyKernel kAllAxpys[] = {
#include "kernels/axpy/variants.inc"
};
#undef MINNOW_OP
#define MINNOW_OP ThresholdOp
const ThresholdKernel kAllThresholds[] = {
#include "kernels/threshold/variants.inc"
};
#undef MINNOW_OP
#undef MINNOW_KERNEL

const size_t kSizes[] = {1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 63, 64, 65, 96, 576, 897};

class Norm : public kernel_test::KernelTest<NormKernel> {
 protected:
  void check(size_t n, float shift, bool with_weight, bool with_bias, bool in_place) {
    SCOPED_TRACE(testing::Message() << "n " << n << " shift " << shift);
    const size_t rows = 2;
    Guarded<float> x(rows * n), y(rows * n), weight(n), bias(n);
    for (float& v : x) v = random.normal() + shift;
    for (float& v : weight) v = random.uniform(0.5f, 2);
    for (float& v : bias) v = random.normal();
    const std::vector<float> before(x.begin(), x.end());
    NormArgs args{};
    args.x = x.data(), args.x_stride = n, args.y = in_place ? x.data() : y.data(), args.y_stride = n;
    args.weight = with_weight ? weight.data() : nullptr, args.bias = with_bias ? bias.data() : nullptr;
    args.rows = rows, args.n = n, args.eps = 1e-5f;
    GetParam().fn(&args);
    const bool layer = GetParam().op == NormOp::layernorm_f32;
    for (size_t r = 0; r < rows; ++r) {
      double mean = 0, squares = 0, largest = 0;
      for (size_t i = 0; i < n && layer; ++i) mean += before[r * n + i] / (double)n;
      for (size_t i = 0; i < n; ++i) {
        const double d = before[r * n + i] - mean;
        squares += d * d / (double)n, largest = std::max(largest, std::abs((double)before[r * n + i]));
      }
      const double factor = 1 / std::sqrt(squares + (double)args.eps);
      for (size_t i = 0; i < n; ++i) {
        const double w = with_weight ? weight[i] : 1.0;
        const double b = with_bias && layer ? bias[i] : 0.0;
        const double want = (before[r * n + i] - mean) * factor * w + b;
        const double size = layer ? largest * factor * w + std::abs(b) : std::abs(want);
        ASSERT_NEAR(args.y[r * n + i], want, (std::sqrt((double)n) + 16) * 0x1p-24 * size) << "element " << i;
      }
    }
  }
};

TEST_P(Norm, EverySize) {
  for (size_t n : kSizes) {
    for (int bits = 0; bits < 8; ++bits) check(n, 0, (bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0);
  }
}

TEST_P(Norm, FarFromZero) {
  for (float shift : {10.0f, -300.0f}) check(576, shift, true, true, false);
}

TEST_P(Norm, ZerosStayFinite) {
  Guarded<float> x(64), y(64);
  NormArgs args{};
  args.x = x.data(), args.y = y.data(), args.rows = 1, args.n = 64, args.eps = 1e-6f;
  GetParam().fn(&args);
  for (float v : y) EXPECT_EQ(v, 0.0f);
}

MINNOW_KERNEL_SUITE(Norm, NormKernel, kAllNorms);

class Threshold : public kernel_test::KernelTest<ThresholdKernel> {
 protected:
  /// share: of the elements that should be left out, roughly.
  void check(size_t n, float share, bool list, bool in_place) {
    SCOPED_TRACE(testing::Message() << "n " << n << " share " << share);
    Guarded<float> x(n), t(n), y(n);
    Guarded<uint32_t> entries((n + kThresholdSlack - 1) / kThresholdSlack * kThresholdSlack);
    for (float& v : x) v = random.integer(0, 9) == 0 ? 0.0f : random.normal();
    for (float& v : t) v = share <= 0 ? 0.0f : share >= 1 ? 1e9f : random.uniform(0, 1.3f);
    if (n > 2) t[2] = std::abs(x[2]) / 0.5f;  // at the threshold: left out
    std::vector<float> want(x.begin(), x.end());
    std::vector<uint32_t> kept_ones;
    for (size_t i = 0; i < n; ++i) {
      if (std::abs(x[i]) <= 0.5f * t[i])
        want[i] = 0.0f;
      else
        kept_ones.push_back(7 + (uint32_t)i);
    }
    size_t kept = 12345;
    const ThresholdArgs args{
        x.data(), t.data(), 0.5f, in_place ? x.data() : y.data(), list ? entries.data() : nullptr,
        7,        n,        &kept};
    GetParam().fn(&args);
    ASSERT_EQ(kept, kept_ones.size());
    for (size_t i = 0; i < n; ++i) ASSERT_EQ(args.out[i], want[i]) << "element " << i;
    for (size_t i = 0; i < kept && list; ++i) ASSERT_EQ(entries[i], kept_ones[i]) << "entry " << i;
  }
};

TEST_P(Threshold, EverySize) {
  for (size_t n : kSizes) {
    for (const float share : {0.0f, 0.5f, 1.0f}) {
      for (int bits = 0; bits < 4; ++bits) check(n, share, (bits & 1) != 0, (bits & 2) != 0);
    }
  }
}

TEST_P(Threshold, KeepsWhatIsNotANumber) {
  float x[] = {NAN, 1.0f, -INFINITY}, t[] = {2.0f, 2.0f, 2.0f}, y[3];
  size_t kept = 0;
  const ThresholdArgs args{x, t, 1.0f, y, nullptr, 0, 3, &kept};
  GetParam().fn(&args);
  EXPECT_EQ(kept, 2u);
  EXPECT_TRUE(std::isnan(y[0]));
  EXPECT_EQ(y[1], 0.0f);
  EXPECT_EQ(y[2], -INFINITY);
}

MINNOW_KERNEL_SUITE(Threshold, ThresholdKernel, kAllThresholds);

class ActivationTest : public kernel_test::KernelTest<ActivationKernel> {
 protected:
  static double reference(Activation kind, double g) {
    switch (kind) {
      case Activation::silu:
        return g / (1 + std::exp(-g));
      case Activation::gelu_tanh:
        return g / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (g + 0.044715 * g * g * g)));
      case Activation::gelu_erf:
        return g / 2 * std::erfc(-g / std::sqrt(2.0));
      case Activation::relu:
        return std::max(g, 0.0);
      case Activation::relu2:
        return std::max(g, 0.0) * std::max(g, 0.0);
      case Activation::tanh:
        return std::tanh(g);
      case Activation::identity:
        break;
    }
    return g;
  }
  // A wrong exponent of gelu_tanh at -10 multiplies a result of 1e-37: there the bound follows the exponent.
  static double bound(Activation kind, double g, double want) {
    if (kind == Activation::gelu_erf) return 0x1p-21 * std::abs(g);
    const double exponent = kind == Activation::gelu_tanh ? 1.6 * (std::abs(g) + 0.045 * std::abs(g * g * g))
                            : kind == Activation::silu    ? std::abs(g)
                                                          : 0;
    return (0x1p-20 + exponent * 0x1p-22) * std::abs(want) + 0x1p-100;
  }
};

const Activation kKinds[] = {Activation::silu,  Activation::gelu_tanh, Activation::gelu_erf, Activation::relu,
                             Activation::relu2, Activation::tanh,      Activation::identity};

TEST_P(ActivationTest, CloseEverywhere) {
  for (Activation kind : kKinds) {
    for (float size : {1e-30f, 1e-6f, 0.1f, 1.0f, 6.0f, 30.0f, 200.0f}) {
      Guarded<float> gate(1001), out(1001);
      for (float& v : gate) v = random.uniform(-size, size);
      ActivationArgs args{gate.data(), nullptr, out.data(), gate.size(), kind};
      GetParam().fn(&args);
      for (size_t i = 0; i < gate.size(); ++i) {
        const double want = reference(kind, gate[i]);
        ASSERT_NEAR(out[i], want, bound(kind, gate[i], want)) << "kind " << (int)kind << " of " << gate[i];
      }
    }
  }
}

TEST_P(ActivationTest, EverySizeGatedAndInPlace) {
  for (size_t n : kSizes) {
    Guarded<float> gate(n), up(n), out(n);
    for (float& v : gate) v = random.normal();
    for (float& v : up) v = random.normal();
    ActivationArgs args{gate.data(), nullptr, out.data(), n, Activation::silu};
    GetParam().fn(&args);
    std::vector<float> plain(out.begin(), out.end());
    args.up = up.data(), args.out = up.data();
    const std::vector<float> factor(up.begin(), up.end());
    GetParam().fn(&args);
    for (size_t i = 0; i < n; ++i) ASSERT_EQ(up[i], plain[i] * factor[i]);
  }
}

TEST_P(ActivationTest, NanStaysNan) {
  for (Activation kind : kKinds) {
    Guarded<float> gate(40), out(40);
    gate[3] = NAN, gate[39] = NAN;
    ActivationArgs args{gate.data(), nullptr, out.data(), 40, kind};
    GetParam().fn(&args);
    EXPECT_TRUE(std::isnan(out[3]) && std::isnan(out[39])) << "kind " << (int)kind;
    EXPECT_EQ(out[4], 0.0f);
  }
}

MINNOW_KERNEL_SUITE(ActivationTest, ActivationKernel, kAllActivations);

class Rope : public kernel_test::KernelTest<RopeKernel> {};

TEST_P(Rope, RotatesPairsAndNothingElse) {
  for (size_t r : {2, 6, 16, 32, 34, 64, 96, 128}) {
    const size_t heads = 3, stride = r + 5;
    Guarded<float> x((heads - 1) * stride + r), cos(r / 2), sin(r / 2);
    for (float& v : x) v = random.normal();
    for (size_t j = 0; j < r / 2; ++j) {
      const float angle = random.uniform(-4, 4);
      cos[j] = std::cos(angle), sin[j] = std::sin(angle);
    }
    const std::vector<float> before(x.begin(), x.end());
    RopeArgs args{x.data(), stride, heads, r, cos.data(), sin.data()};
    GetParam().fn(&args);
    for (size_t i = 0; i < x.size(); ++i) {
      const size_t h = i / stride, j = i % stride;
      if (j >= r) {
        ASSERT_EQ(x[i], before[i]);
        continue;
      }
      const size_t pair = j % (r / 2);
      const double a = before[h * stride + pair], b = before[h * stride + pair + r / 2];
      const double want = j < r / 2 ? a * (double)cos[pair] - b * (double)sin[pair]
                                    : b * (double)cos[pair] + a * (double)sin[pair];
      ASSERT_NEAR(x[i], want, 0x1p-23 * (std::abs(a) + std::abs(b)))
          << "r " << r << " head " << h << " element " << j;
    }
  }
}

MINNOW_KERNEL_SUITE(Rope, RopeKernel, kAllRopes);

class Axpy : public kernel_test::KernelTest<AxpyKernel> {};

TEST_P(Axpy, EverySizeAndCoefficient) {
  for (size_t n : kSizes) {
    for (float a : {1.0f, -0.3f}) {
      for (float b : {0.0f, 1.0f, 2.5f}) {
        for (bool with_x : {true, false}) {
          Guarded<float> x(n), y(n);
          for (float& v : x) v = random.normal();
          for (float& v : y) v = b == 0 ? NAN : random.normal();
          const std::vector<float> before(y.begin(), y.end());
          AxpyArgs args{with_x ? x.data() : nullptr, y.data(), n, a, b};
          GetParam().fn(&args);
          for (size_t i = 0; i < n; ++i) {
            const double ax = with_x ? (double)a * (double)x[i] : 0;
            const double by = b == 0 ? 0 : (double)b * (double)before[i];
            ASSERT_NEAR(y[i], ax + by, 0x1p-23 * (std::abs(ax) + std::abs(by)));
          }
        }
      }
    }
  }
}

MINNOW_KERNEL_SUITE(Axpy, AxpyKernel, kAllAxpys);

}  // namespace
