// convert and read_wall: what must agree to the last bit.
#include "kernels/convert/convert.h"

#include "kernels/read_wall/read_wall.h"
#include "kernels/support.h"

MINNOW_PRINT_KERNEL(ConvertKernel)
MINNOW_PRINT_KERNEL(ReadWallKernel)

namespace {

using kernel_test::Guarded;

const ConvertKernel kAll[] = {
#define MINNOW_KERNEL(op, symbol, isa) {ConvertOp::op, #symbol, symbol, isa},
#include "kernels/convert/variants.inc"
#undef MINNOW_KERNEL
};

const ReadWallKernel kAllReadWalls[] = {
#define MINNOW_KERNEL(op, symbol, isa) {ReadWallOp::op, #symbol, symbol, isa},
#include "kernels/read_wall/variants.inc"
#undef MINNOW_KERNEL
};

class Convert : public kernel_test::KernelTest<ConvertKernel> {
 protected:
  bool widens() const {
    return GetParam().op == ConvertOp::convert_f32_f16 || GetParam().op == ConvertOp::convert_f32_bf16;
  }
  bool half() const {
    return GetParam().op == ConvertOp::convert_f32_f16 || GetParam().op == ConvertOp::convert_f16_f32;
  }
  double value(uint16_t bits) const {
    if (half()) return kernel_test::value_of_f16(bits);
    const uint32_t wide = (uint32_t)bits << 16;
    float value;
    std::memcpy(&value, &wide, 4);
    return value;
  }
  std::vector<uint16_t> narrow(std::vector<float> values) {
    std::vector<uint16_t> out(values.size());
    ConvertArgs args{values.data(), out.data(), values.size()};
    GetParam().fn(&args);
    return out;
  }
};

TEST_P(Convert, EverySixteenBitValue) {
  std::vector<uint16_t> bits(65536);
  std::vector<float> values(65536);
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = (uint16_t)i, values[i] = (float)value((uint16_t)i);
  if (widens()) {
    std::vector<float> out(65536);
    ConvertArgs args{bits.data(), out.data(), out.size()};
    GetParam().fn(&args);
    for (size_t i = 0; i < out.size(); ++i) {
      if (std::isnan(values[i])) {
        ASSERT_TRUE(std::isnan(out[i])) << i;
      } else {
        ASSERT_EQ(out[i], values[i]) << i;
        ASSERT_EQ(std::signbit(out[i]), std::signbit(values[i])) << i;
      }
    }
  } else {
    const std::vector<uint16_t> out = narrow(values);
    for (size_t i = 0; i < out.size(); ++i) {
      if (std::isnan(values[i])) {
        ASSERT_TRUE(std::isnan(value(out[i]))) << i;
      } else {
        ASSERT_EQ(out[i], bits[i]);
      }
    }
  }
}

TEST_P(Convert, RoundsToNearestEven) {
  if (widens()) GTEST_SKIP() << "widening is exact";
  // Between every two neighbours: the middle, and just beside it on either side.
  for (uint16_t low = 0; low < (half() ? 0x7bff : 0x7f7f); ++low) {
    const float a = (float)value(low), b = (float)value((uint16_t)(low + 1));
    const float middle = a + (b - a) / 2;
    const std::vector<uint16_t> got =
        narrow({middle, std::nextafter(middle, a), std::nextafter(middle, b), -middle});
    const uint16_t even = (uint16_t)(low + (low & 1));
    ASSERT_EQ(got[0], even) << low;
    ASSERT_EQ(got[1], low) << low;
    ASSERT_EQ(got[2], low + 1) << low;
    ASSERT_EQ(got[3], even | 0x8000) << low;
  }
}

TEST_P(Convert, OverflowsToInfinity) {
  if (widens()) GTEST_SKIP() << "widening is exact";
  const uint16_t infinity = half() ? 0x7c00 : 0x7f80;
  const std::vector<uint16_t> got = narrow(
      {3.4028235e38f, INFINITY, -INFINITY, half() ? 65520.0f : 3.4e38f, half() ? 65519.996f : 3.38e38f});
  EXPECT_EQ(got[0], infinity);
  EXPECT_EQ(got[1], infinity);
  EXPECT_EQ(got[2], infinity | 0x8000);
  if (half()) {
    EXPECT_EQ(got[3], infinity);
  }
  EXPECT_LT(got[4], infinity);
}

TEST_P(Convert, EverySizeAndNoMore) {
  for (size_t n = 0; n <= 67; ++n) {
    const size_t in = widens() ? 2 : 4, out = 6 - in;
    Guarded<char> src(n * in), dst(n * out);
    ConvertArgs args{src.data(), dst.data(), n};
    for (char& c : dst) c = 1;
    GetParam().fn(&args);
    for (char c : dst) ASSERT_EQ(c, 0);
  }
}

MINNOW_KERNEL_SUITE(Convert, ConvertKernel, kAll);

class ReadWall : public kernel_test::KernelTest<ReadWallKernel> {};

TEST_P(ReadWall, ReadsEveryWordOnce) {
  for (size_t bytes : {0, 64, 128, 192, 256, 320, 4096, 8128}) {
    Guarded<uint64_t> data(bytes / 8);
    uint64_t want = 0, got = 1;
    for (uint64_t& v : data) v = (uint64_t)random.bits() << 32 | random.bits(), want ^= v;
    ReadWallArgs args{data.data(), bytes, &got};
    GetParam().fn(&args);
    EXPECT_EQ(got, want) << bytes;
  }
}

MINNOW_KERNEL_SUITE(ReadWall, ReadWallKernel, kAllReadWalls);

}  // namespace
