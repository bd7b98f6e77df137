#include "kernels/linear_float/linear_float.h"

#include "kernels/support.h"

MINNOW_PRINT_KERNEL(LinearFloatKernel)

namespace {

using kernel_test::Aligned;
using kernel_test::Guarded;

const LinearFloatKernel kAll[] = {
#define MINNOW_KERNEL(op, symbol, isa) {LinearFloatOp::op, #symbol, symbol, isa},
#include "kernels/linear_float/variants.inc"
#undef MINNOW_KERNEL
};

class LinearFloat : public kernel_test::KernelTest<LinearFloatKernel> {
 protected:
  size_t element_size() const { return GetParam().op == LinearFloatOp::linear_f32_f32_f32 ? 4 : 2; }

  double weight(const char* row, size_t k) const {
    if (GetParam().op == LinearFloatOp::linear_f32_f32_f32) return ((const float*)row)[k];
    const uint16_t bits = ((const uint16_t*)row)[k];
    if (GetParam().op == LinearFloatOp::linear_f32_f32_f16) return kernel_test::value_of_f16(bits);
    const uint32_t wide = (uint32_t)bits << 16;
    float value;
    std::memcpy(&value, &wide, 4);
    return value;
  }

  void fill(char* row, size_t k) {
    if (element_size() == 4) {
      ((float*)row)[k] = random.normal();
    } else if (GetParam().op == LinearFloatOp::linear_f32_f32_f16) {
      ((uint16_t*)row)[k] = kernel_test::random_f16(random);
    } else {
      const float value = random.normal();
      std::memcpy((uint16_t*)row + k, (const char*)&value + 2, 2);
    }
  }

  void check(size_t m, size_t n0, size_t n1, size_t k, bool accumulate, bool with_bias) {
    const size_t n = n1 + 2, stride = (k * element_size() + 63) / 64 * 64, y_stride = n + 3;
    Aligned w(n * stride);
    Guarded<float> x(m * k), bias(n1), y(m * y_stride);
    for (size_t r = 0; r < n; ++r) {
      for (size_t i = 0; i < k; ++i) fill(w.data() + r * stride, i);
    }
    for (float& v : x) v = random.normal();
    for (float& v : bias) v = random.normal();
    for (float& v : y) v = random.normal();
    const std::vector<float> before(y.begin(), y.end());
    LinearFloatArgs args{};
    args.x = x.data(), args.x_stride = k, args.w = w.data(), args.w_stride = stride;
    args.bias = with_bias ? bias.data() : nullptr;
    args.y = y.data(), args.y_stride = y_stride;
    args.m = m, args.n0 = n0, args.n1 = n1, args.k = k, args.accumulate = accumulate;
    GetParam().fn(&args);
    for (size_t i = 0; i < m; ++i) {
      for (size_t r = 0; r < y_stride; ++r) {
        const float got = y[i * y_stride + r];
        if (r < n0 || r >= n1) {
          ASSERT_EQ(got, before[i * y_stride + r]) << "outside [n0, n1): m " << i << " n " << r;
          continue;
        }
        double sum = 0, size = 0;
        for (size_t j = 0; j < k; ++j) {
          const double term = (double)x[i * k + j] * weight(w.data() + r * stride, j);
          sum += term, size += std::abs(term);
        }
        const double start = accumulate ? before[i * y_stride + r] : with_bias ? bias[r] : 0.0;
        const double bound = ((double)k + 8) * 0x1p-24 * (size + std::abs(start));
        ASSERT_NEAR(got, sum + start, bound) << "M " << m << " K " << k << " m " << i << " n " << r;
      }
    }
  }
};

TEST_P(LinearFloat, EveryTailOfKAndNumberOfColumns) {
  for (size_t k : {32, 64, 96, 160, 576, 896}) {
    for (size_t m = 1; m <= 9; ++m) check(m, 0, 5, k, false, false);
  }
}

TEST_P(LinearFloat, AnyPortionOfRows) {
  for (size_t n0 = 0; n0 <= 5; ++n0) {
    for (size_t n1 = n0; n1 <= 11; ++n1) check(3, n0, n1, 96, n1 % 2 == 0, n1 % 3 == 0);
  }
}

TEST_P(LinearFloat, BiasAndAccumulate) {
  for (bool accumulate : {false, true}) {
    for (bool with_bias : {false, true}) check(6, 1, 10, 160, accumulate, with_bias);
  }
}

TEST_P(LinearFloat, NoColumnsTouchNothing) {
  check(0, 0, 4, 32, false, false);
}

TEST_P(LinearFloat, NanWeightsGiveNan) {
  Aligned w(64 * 4);
  std::memset(w.data(), 0xff, 64 * 4);
  Guarded<float> x(32), y(1);
  for (float& v : x) v = 1;
  LinearFloatArgs args{};
  args.x = x.data(), args.x_stride = 32, args.w = w.data(), args.w_stride = 32 * element_size();
  args.y = y.data(), args.y_stride = 1, args.m = 1, args.n1 = 1, args.k = 32;
  GetParam().fn(&args);
  EXPECT_TRUE(std::isnan(y[0]));
}

MINNOW_KERNEL_SUITE(LinearFloat, LinearFloatKernel, kAll);

TEST(LinearFloatSelect, AlwaysFindsScalarAndNeverMoreThanTheMask) {
  for (LinearFloatOp op : {LinearFloatOp::linear_f32_f32_f32, LinearFloatOp::linear_f32_f32_f16,
                           LinearFloatOp::linear_f32_f32_bf16}) {
    for (uint32_t mask : {0u, (uint32_t)kIsaScalar, (uint32_t)(kIsaScalar | kIsaAvx2), ~0u}) {
      const LinearFloatKernel* kernel = select_linear_float(op, mask);
      ASSERT_NE(kernel, nullptr);
      EXPECT_EQ(kernel->op, op);
      EXPECT_NE(kernel->isa & (mask | kIsaScalar), 0u);
    }
  }
}

}  // namespace
