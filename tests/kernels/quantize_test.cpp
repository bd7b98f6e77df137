#include "kernels/quantize/quantize.h"

#include <algorithm>

#include "kernels/support.h"

MINNOW_PRINT_KERNEL(QuantizeKernel)

namespace {

using kernel_test::Guarded;

const QuantizeKernel kAll[] = {
#define MINNOW_KERNEL(op, symbol, isa) {QuantizeOp::op, #symbol, symbol, isa},
#include "kernels/quantize/variants.inc"
#undef MINNOW_KERNEL
};

class Quantize : public kernel_test::KernelTest<QuantizeKernel> {
 protected:
  // Runs the kernel on rows of k values and checks every output against the contract, bit for bit.
  void check(const std::vector<float>& values, size_t m, size_t k, size_t k_padded, size_t group,
             bool gather) {
    SCOPED_TRACE(testing::Message() << "k " << k << " padded " << k_padded << " group " << group);
    Guarded<float> x(m * k);
    std::copy(values.begin(), values.end(), x.begin());
    Guarded<uint32_t> index(k);
    for (size_t i = 0; i < k; ++i) index[i] = (uint32_t)i;
    if (gather) std::shuffle(index.begin(), index.end(), random.engine);
    const size_t groups = (k_padded + group - 1) / group;
    Guarded<int8_t> q(m * k_padded);
    Guarded<float> scale(m * groups);
    Guarded<int32_t> sum(m * groups);
    for (int8_t& v : q) v = 99;
    QuantizeArgs args{};
    args.x = x.data(), args.x_stride = k, args.gather = gather ? index.data() : nullptr;
    args.q = q.data(), args.q_stride = k_padded, args.scale = scale.data(), args.sum = sum.data();
    args.s_stride = groups, args.m = m, args.k = k, args.k_padded = k_padded, args.group = group;
    GetParam().fn(&args);
    for (size_t r = 0; r < m; ++r) {
      for (size_t g = 0; g < groups; ++g) {
        const size_t end = std::min(k_padded, (g + 1) * group);
        float max = 0;
        for (size_t i = g * group; i < std::min(end, k); ++i)
          max = std::max(max, std::abs(x[r * k + index[i]]));
        if (max < 0x1p-100f) max = 0;
        const float inverse = max == 0 ? 0 : 127 / max;
        int32_t total = 0;
        for (size_t i = g * group; i < end; ++i) {
          const float v = i < k ? x[r * k + index[i]] * inverse : 0;
          ASSERT_EQ((int)q[r * k_padded + i], (int)std::nearbyint(v)) << "row " << r << " element " << i;
          total += q[r * k_padded + i];
        }
        ASSERT_EQ(scale[r * groups + g], max / 127);
        ASSERT_EQ(sum[r * groups + g], total);
      }
    }
  }

  std::vector<float> normals(size_t n) {
    std::vector<float> values(n);
    for (float& v : values) v = random.normal();
    return values;
  }
};

TEST_P(Quantize, EveryTailGroupAndGather) {
  for (size_t group : {32, 64, 128, 4096}) {
    for (size_t k : {1, 31, 32, 33, 63, 64, 96, 160, 575, 576, 896}) {
      for (size_t extra : {0, 32, 64}) {
        check(normals(3 * k), 3, k, (k + 31) / 32 * 32 + extra, group, k % 2 == 0);
      }
    }
  }
}

TEST_P(Quantize, RoundsHalvesToEven) {
  std::vector<float> values(64, 0.0f);
  for (size_t i = 0; i < 32; ++i) values[i] = (float)i + 0.5f, values[32 + i] = -(float)i - 0.5f;
  values[0] = 127, values[32] = -127;
  check(values, 1, 64, 64, 32, false);
}

TEST_P(Quantize, ZerosTinyAndHugeValues) {
  for (float size : {0.0f, -0.0f, 0x1p-149f, 0x1p-110f, 0x1p-100f, 0x1p-90f, 0x1p127f, 3.4028235e38f}) {
    std::vector<float> values(96);
    for (float& v : values) v = size * random.uniform(-1, 1);
    values[5] = size;
    check(values, 1, 96, 96, 32, false);
  }
}

TEST_P(Quantize, NanAndInfinityMarkTheirGroupOnly) {
  for (float bad : {NAN, INFINITY, -INFINITY, -NAN}) {
    Guarded<float> x(96);
    for (float& v : x) v = random.normal();
    x[40] = bad;
    Guarded<int8_t> q(96);
    Guarded<float> scale(3);
    Guarded<int32_t> sum(3);
    QuantizeArgs args{};
    args.x = x.data(), args.q = q.data(), args.scale = scale.data(), args.sum = sum.data();
    args.m = 1, args.k = 96, args.k_padded = 96, args.group = 32;
    GetParam().fn(&args);
    EXPECT_TRUE(std::isfinite(scale[0]) && std::isfinite(scale[2]));
    EXPECT_FALSE(std::isfinite(scale[1]));
    for (int8_t v : q) EXPECT_GE(v, -127);
  }
}

TEST_P(Quantize, OneRowOneScaleWithoutSum) {  // as KV rows are
  Guarded<float> x(2 * 64), scale(2);
  Guarded<int8_t> q(2 * 64);
  for (float& v : x) v = random.normal();
  QuantizeArgs args{};
  args.x = x.data(), args.x_stride = 64, args.q = q.data(), args.q_stride = 64, args.scale = scale.data();
  args.s_stride = 1, args.m = 2, args.k = 64, args.k_padded = 64, args.group = 64;
  GetParam().fn(&args);
  for (size_t i = 0; i < 128; ++i) EXPECT_NEAR(x[i], scale[i / 64] * (float)q[i], scale[i / 64] * 0.5001f);
}

MINNOW_KERNEL_SUITE(Quantize, QuantizeKernel, kAll);

}  // namespace
