#include "kernels/attention_pv/attention_pv.h"
#include "kernels/attention_qk/attention_qk.h"
#include "kernels/support.h"

MINNOW_PRINT_KERNEL(AttentionQkKernel)
MINNOW_PRINT_KERNEL(AttentionPvKernel)

namespace {

using kernel_test::Guarded;

const AttentionQkKernel kAllQk[] = {
#define MINNOW_KERNEL(op, symbol, isa) {AttentionQkOp::op, #symbol, symbol, isa},
#include "kernels/attention_qk/variants.inc"
#undef MINNOW_KERNEL
};

const AttentionPvKernel kAllPv[] = {
#define MINNOW_KERNEL(op, symbol, isa) {AttentionPvOp::op, #symbol, symbol, isa},
#include "kernels/attention_pv/variants.inc"
#undef MINNOW_KERNEL
};

// A cache of rows of one type, with a gap between rows as between heads; the last row ends at a guard page.
struct Rows {
  size_t element, stride, d;
  Guarded<char> bytes;
  Guarded<float> scales;  // every third element is a row's

  Rows(size_t element_size, size_t count, size_t head, kernel_test::Random& random)
      : element(element_size),
        stride(2 * head * element_size),
        d(head),
        bytes((count - 1) * stride + head * element_size),
        scales((count - 1) * 3 + 1) {
    for (size_t p = 0; p < count; ++p) {
      scales[3 * p] = random.uniform(0.001f, 0.02f);
      for (size_t i = 0; i < head; ++i) {
        char* at = bytes.data() + p * stride + i * element;
        const float value = random.normal();
        const uint16_t half = kernel_test::random_f16(random);
        const int8_t code = (int8_t)random.integer(-127, 127);
        std::memcpy(at,
                    element == 4   ? (const void*)&value
                    : element == 2 ? (const void*)&half
                                   : &code,
                    element);
      }
    }
  }
  double at(size_t p, size_t i) {
    const char* place = bytes.data() + p * stride + i * element;
    if (element == 1) return (double)scales[3 * p] * *(const int8_t*)place;
    uint16_t half;
    std::memcpy(&half, place, 2);
    if (element == 2) return kernel_test::value_of_f16(half);
    float value;
    std::memcpy(&value, place, 4);
    return value;
  }
};

class AttentionQk : public kernel_test::KernelTest<AttentionQkKernel> {
 protected:
  void check(size_t heads, size_t p0, size_t p1, size_t d) {
    SCOPED_TRACE(testing::Message() << "G " << heads << " p [" << p0 << ", " << p1 << ") d " << d);
    const AttentionQkOp op = GetParam().op;
    Rows k(op == AttentionQkOp::attn_qk_f32_f32_f32   ? 4
           : op == AttentionQkOp::attn_qk_f32_f32_f16 ? 2
                                                      : 1,
           p1 + 1, d, random);
    Guarded<float> q(heads * d), scores(heads * (p1 + 1));
    for (float& v : q) v = random.normal();
    for (float& v : scores) v = 77;
    AttentionQkArgs args{};
    args.q = q.data(), args.q_stride = d, args.k = k.bytes.data(), args.row_stride = k.stride;
    args.row_scales = k.scales.data(), args.row_scale_stride = 12;
    args.p0 = p0, args.p1 = p1, args.heads = heads, args.d = d, args.scale = 0.125f;
    args.scores = scores.data(), args.scores_stride = p1 + 1;
    GetParam().fn(&args);
    for (size_t g = 0; g < heads; ++g) {
      for (size_t p = 0; p <= p1; ++p) {
        const float got = scores[g * (p1 + 1) + p];
        if (p < p0 || p >= p1) {
          ASSERT_EQ(got, 77.0f) << "outside [p0, p1)";
          continue;
        }
        double sum = 0, size = 0;
        for (size_t i = 0; i < d; ++i) {
          const double term = 0.125 * (double)q[g * d + i] * k.at(p, i);
          sum += term, size += std::abs(term);
        }
        ASSERT_NEAR(got, sum, ((double)d + 8) * 0x1p-24 * size) << "head " << g << " row " << p;
      }
    }
  }
};

TEST_P(AttentionQk, EveryHeadCountAndSize) {
  for (size_t d : {32, 64, 96, 128, 256}) {
    for (size_t heads = 1; heads <= 9; ++heads) check(heads, 0, 7, d);
  }
}

TEST_P(AttentionQk, AnyPortionOfPositions) {
  for (size_t p0 = 0; p0 <= 5; ++p0) {
    for (size_t p1 = p0; p1 <= 11; ++p1) check(3, p0, p1, 64);
  }
}

MINNOW_KERNEL_SUITE(AttentionQk, AttentionQkKernel, kAllQk);

class AttentionPv : public kernel_test::KernelTest<AttentionPvKernel> {
 protected:
  void check(size_t heads, size_t p0, size_t p1, size_t d, bool accumulate) {
    SCOPED_TRACE(testing::Message() << "G " << heads << " p [" << p0 << ", " << p1 << ") d " << d);
    const AttentionPvOp op = GetParam().op;
    Rows v(op == AttentionPvOp::attn_pv_f32_f32_f32   ? 4
           : op == AttentionPvOp::attn_pv_f32_f32_f16 ? 2
                                                      : 1,
           p1 + 1, d, random);
    Guarded<float> w(heads * (p1 + 1)), out(heads * d);
    for (float& value : w) value = random.uniform(0, 1);
    for (float& value : out) value = random.normal();
    const std::vector<float> before(out.begin(), out.end());
    AttentionPvArgs args{};
    args.w = w.data(), args.w_stride = p1 + 1, args.v = v.bytes.data(), args.row_stride = v.stride;
    args.row_scales = v.scales.data(), args.row_scale_stride = 12;
    args.p0 = p0, args.p1 = p1, args.heads = heads, args.d = d;
    args.out = out.data(), args.out_stride = d, args.accumulate = accumulate;
    GetParam().fn(&args);
    for (size_t g = 0; g < heads; ++g) {
      for (size_t i = 0; i < d; ++i) {
        double sum = accumulate ? (double)before[g * d + i] : 0, size = std::abs(sum);
        for (size_t p = p0; p < p1; ++p) {
          const double term = (double)w[g * (p1 + 1) + p] * v.at(p, i);
          sum += term, size += std::abs(term);
        }
        ASSERT_NEAR(out[g * d + i], sum, ((double)(p1 - p0) + 8) * 0x1p-23 * size)
            << "head " << g << " d " << i;
      }
    }
  }
};

TEST_P(AttentionPv, EveryHeadCountAndSize) {
  for (size_t d : {32, 64, 96, 128, 160, 256}) {
    for (size_t heads = 1; heads <= 9; ++heads) check(heads, 0, 37, d, heads % 2 == 0);
  }
}

TEST_P(AttentionPv, AnyPortionOfPositions) {
  for (bool accumulate : {false, true}) {
    for (size_t p0 : {0, 1, 31, 32, 40}) {
      for (size_t p1 : {40, 41, 64, 97}) check(3, p0, p1, 64, accumulate);
    }
  }
}

MINNOW_KERNEL_SUITE(AttentionPv, AttentionPvKernel, kAllPv);

}  // namespace
