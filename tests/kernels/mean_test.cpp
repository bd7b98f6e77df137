// mean: every variant against the scalar one bit for bit, side by side and strided, and all of them against
// means in double.
#include "kernels/mean/mean.h"

#include <algorithm>

#include "kernels/support.h"

MINNOW_PRINT_KERNEL(MeanKernel)

namespace {

using kernel_test::Guarded;
using kernel_test::value_of_f16;

const MeanKernel kAll[] = {
#define MINNOW_KERNEL(op, symbol, isa) {MeanOp::op, #symbol, symbol, isa},
#include "kernels/mean/variants.inc"
#undef MINNOW_KERNEL
};

const float kWeights[] = {1.0f, 0x1.fffffep-1f, 0.75f, 0.5f, 1.0f / 3, 0.1f, 1e-3f, 0x1p-20f, 1e-38f};

bool is_nan(uint16_t bits) {
  return (bits & 0x7fff) > 0x7c00;
}

// What the header allows a call to be off whose exact result is r; step = weight * (x - mean).
double bound_of(double r, double step) {
  return 0x1p-11 * std::abs(r) + 0x1p-25 + 0x1p-23 * std::abs(step);
}

class Mean : public kernel_test::KernelTest<MeanKernel> {
 protected:
  // Leaves what the variant makes of it, after the scalar one agreed.
  void run(Guarded<uint16_t>& mean, Guarded<float>& x, float weight) {
    Guarded<uint16_t> reference(mean.size());
    std::copy(mean.begin(), mean.end(), reference.begin());
    strided(mean, x, weight);
    MeanArgs args{reference.data(), 1, x.data(), x.size(), weight};
    select_mean(MeanOp::mean_f16_f32, 0)->fn(&args);
    args.mean = mean.data();
    GetParam().fn(&args);
    for (size_t i = 0; i < mean.size(); ++i) {
      if (is_nan(reference[i]) && is_nan(mean[i])) continue;
      ASSERT_EQ(mean[i], reference[i]) << "weight " << weight << " x " << x[i] << " at " << i;
    }
  }
  // The same with room between the values, which stays as it is.
  void strided(Guarded<uint16_t>& mean, Guarded<float>& x, float weight) {
    const size_t n = mean.size();
    if (n == 0) return;
    const size_t stride = random.integer(0, 2) == 0 ? (size_t)random.integer(2, 20) : 16;
    const uint16_t untouched = 0x1234;
    Guarded<uint16_t> wide((n - 1) * stride + 1), reference(n);
    std::fill(wide.begin(), wide.end(), untouched);
    for (size_t i = 0; i < n; ++i) wide[i * stride] = reference[i] = mean[i];
    MeanArgs args{wide.data(), stride, x.data(), n, weight};
    GetParam().fn(&args);
    args.mean = reference.data(), args.stride = 1;
    select_mean(MeanOp::mean_f16_f32, 0)->fn(&args);
    for (size_t i = 0; i < n; ++i) {
      if (!is_nan(reference[i]) || !is_nan(wide[i * stride])) {
        ASSERT_EQ(wide[i * stride], reference[i]) << "weight " << weight << " x " << x[i] << " at " << i;
      }
      for (size_t j = 1; j < stride && i + 1 < n; ++j) ASSERT_EQ(wide[i * stride + j], untouched);
    }
  }
  float any_size() { return random.normal() * std::exp2((float)random.integer(-30, 17)); }
};

TEST_P(Mean, EverySizeAndWeight) {
  for (size_t n = 0; n <= 70; ++n) {
    for (const float weight : kWeights) {
      Guarded<uint16_t> mean(n);
      Guarded<float> x(n);
      for (uint16_t& m : mean) m = kernel_test::random_f16(random);
      for (float& v : x) v = random.normal();
      std::vector<uint16_t> old(mean.begin(), mean.end());
      run(mean, x, weight);
      for (size_t i = 0; i < n; ++i) {
        const double from = value_of_f16(old[i]), step = (double)weight * ((double)x[i] - from);
        ASSERT_NEAR(value_of_f16(mean[i]), from + step, bound_of(from + step, step)) << "weight " << weight;
      }
    }
  }
}

// All there are, NaN and infinities too, before floats of every kind.
TEST_P(Mean, EveryMean) {
  const float odd[] = {0.0f,     -0.0f,    65504.0f, 65519.996f, 65520.0f, -65520.0f, 1e30f,
                       -3.4e38f, INFINITY, NAN,      0x1p-24f,   0x1p-25f, 0x1p-149f, -0x1.004p-14f};
  Guarded<uint16_t> mean(65536);
  Guarded<float> x(65536);
  for (const float weight : kWeights) {
    for (size_t i = 0; i < 65536; ++i) {
      mean[i] = (uint16_t)i;
      x[i] = random.integer(0, 3) == 0 ? odd[random.integer(0, (int)std::size(odd) - 1)] : any_size();
    }
    run(mean, x, weight);
  }
}

// Steps that cancel a large mean leave little but the product's own rounding: whether it is fused shows.
TEST_P(Mean, FusesInTailsToo) {
  for (size_t n = 1; n <= 40; ++n) {
    for (const float weight : {0.7f, 1.0f / 3, 0.2f}) {
      Guarded<uint16_t> mean(n);
      Guarded<float> x(n);
      for (size_t i = 0; i < n; ++i) {
        mean[i] = (uint16_t)random.integer(0x6c00, 0x7bff);  // 4096 to 65504
        const double from = value_of_f16(mean[i]);
        x[i] = (float)(from - from / (double)weight);
      }
      run(mean, x, weight);
    }
  }
}

TEST_P(Mean, WeightOneReplaces) {
  const float huge = 60000, tiny = 1e-5f;
  Guarded<uint16_t> mean(67);
  Guarded<float> x(67);
  for (const int old : {0x7b53 /* 60000 */, 0xfbff, 0x0001, 0x8000, 0x7c00, 0xfc00, 0x7e00}) {
    for (size_t i = 0; i < x.size(); ++i) x[i] = i % 3 == 0 ? tiny : i % 3 == 1 ? -huge : random.normal();
    std::fill(mean.begin(), mean.end(), (uint16_t)old);
    run(mean, x, 1.0f);
    for (size_t i = 0; i < x.size(); ++i)
      ASSERT_NEAR(value_of_f16(mean[i]), x[i], 0x1p-11 * std::abs((double)x[i]) + 0x1p-25);
  }
  ASSERT_EQ(mean[0], 0x00a8);
}

TEST_P(Mean, OverflowsToInfinityThenNan) {
  Guarded<uint16_t> mean(33);
  Guarded<float> x(33);
  std::fill(mean.begin(), mean.end(), (uint16_t)0xfbff);
  std::fill(x.begin(), x.end(), -65536.0f);
  run(mean, x, 0.5f);  // -65520
  for (const uint16_t m : mean) ASSERT_EQ(m, 0xfc00);
  std::fill(x.begin(), x.end(), 1.0f);
  run(mean, x, 0.5f);
  for (const uint16_t m : mean) ASSERT_TRUE(is_nan(m));
  run(mean, x, 1.0f);
  for (const uint16_t m : mean) ASSERT_EQ(m, 0x3c00);
}

// An error fades by the weight and every call adds its own; a weight is 2^-24 of itself off.
TEST_P(Mean, LongRuns) {
  for (const bool moving : {false, true}) {
    const size_t n = 77;
    Guarded<uint16_t> mean(n);
    Guarded<float> x(n);
    std::vector<double> want(n), bound(n);
    std::fill(mean.begin(), mean.end(), (uint16_t)0x7bff);
    for (int k = 1; k <= 3000; ++k) {
      const double weight = moving && k > 10 ? 0.1 : 1.0 / k;
      for (float& v : x) v = 2 + random.normal();
      std::vector<double> old(n);
      for (size_t i = 0; i < n; ++i) old[i] = value_of_f16(mean[i]);
      run(mean, x, (float)weight);
      for (size_t i = 0; i < n; ++i) {
        want[i] += weight * ((double)x[i] - want[i]);
        const double from = k == 1 ? (double)x[i] : old[i], step = weight * ((double)x[i] - from);
        bound[i] = (1 - weight) * bound[i] + bound_of(from + step, step) + 0x1p-24 * std::abs(step);
        ASSERT_NEAR(value_of_f16(mean[i]), want[i], bound[i]) << "call " << k;
      }
      if (moving) {
        ASSERT_LT(*std::max_element(bound.begin(), bound.end()), 0.05);
      }
    }
  }
}

MINNOW_KERNEL_SUITE(Mean, MeanKernel, kAll);

}  // namespace
