// What the packer writes is what the runtime reads, in every layout, width and group.
#include "compress/layout.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/thread_pool.h"
#include "compress/compress.h"
#include "compress/round_to_nearest.h"
#include "format/container.h"
#include "format/verify.h"
#include "format/writer.h"
#include "kernels/common/float_bits.h"
#include "model/kernel_set.h"
#include "model/plan.h"
#include "support/environment.h"

namespace minnow::testing {
namespace {

using compress::QuantisedLinear;
using compress::QuantisedSlab;
using format::CodeType;
using format::Layout;

constexpr CodeType kCodes[] = {CodeType::u2, CodeType::u3, CodeType::u4, CodeType::u8};
constexpr Layout kLayouts[] = {Layout::row, Layout::panel, Layout::channel};

QuantisedSlab random_slab(std::mt19937& rng, CodeType code, uint32_t group, uint32_t rows, uint32_t first,
                          uint32_t count) {
  QuantisedSlab s;
  s.code = code, s.group = group, s.first = first, s.count = count;
  const uint32_t levels = 1u << format::bits_of(code);
  for (uint64_t i = 0; i < uint64_t{rows} * count; ++i)
    s.codes.push_back(static_cast<uint8_t>(rng() % levels));
  for (uint64_t i = 0; i < uint64_t{rows} * s.groups(); ++i) {
    s.scales.push_back(f32_of_f16(static_cast<uint16_t>(0x2000 + rng() % 0x1000)));
    if (code != CodeType::u8) s.zeros.push_back(static_cast<uint8_t>(rng() % 16));
  }
  return s;
}

float value_of(const QuantisedSlab& s, uint32_t row, uint32_t channel) {
  const uint32_t g = channel / s.group, bits = format::bits_of(s.code);
  const float zero = s.zeros.empty() ? static_cast<float>(1u << (bits - 1))
                                     : std::ldexp(static_cast<float>(s.zeros[row * s.groups() + g]),
                                                  static_cast<int>(bits) - 4);
  return s.scales[row * s.groups() + g] * (static_cast<float>(s.codes[row * s.count + channel]) - zero);
}

/// Writes a file whose only linear is this one, reads it back, and compares every weight.
void expect_round_trip(const QuantisedLinear& linear, Layout layout) {
  SCOPED_TRACE(cat("layout ", format::name_of(layout), ", ", linear.rows, " x ", linear.cols, ", ",
                   linear.slabs.size(), " slabs, ", format::name_of(linear.slabs.front().code), " by ",
                   linear.slabs.front().group));
  const TempDir dir;
  auto pool = ThreadPool::create(2);
  ASSERT_TRUE(pool.ok());
  auto writer = format::Writer::create(dir.file("m.mnw"));
  ASSERT_TRUE(writer.ok());
  format::Metadata m;
  format::Linear record;
  record.name = linear.name, record.rows = linear.rows, record.cols = linear.cols;
  ASSERT_TRUE(writer->begin_segment(format::SegmentKind::weights, false).ok());
  ASSERT_TRUE(compress::append_quantised(linear, layout, *writer, **pool, record).ok());
  ASSERT_TRUE(writer->end_segment().ok());
  m.linears.push_back(record);
  ASSERT_TRUE(writer->finish(m).ok());
  auto file = MappedFile::open(dir.file("m.mnw"));
  ASSERT_TRUE(file.ok());
  auto container = format::Container::open(std::move(*file));
  ASSERT_TRUE(container.ok()) << container.status().message();
  EXPECT_TRUE(format::verify_payload(*container).ok());

  model::LinearWeights w;
  w.rows = linear.rows, w.cols = linear.cols, w.layout = layout;
  const auto* base = reinterpret_cast<const uint8_t*>(container->segment(0).data());
  uint64_t bits = 0;
  for (const format::Slab& s : container->metadata().linears[0].slabs) {
    model::SlabWeights& v = w.slabs.emplace_back();
    v.code = s.code, v.group = s.group, v.first = s.first_channel, v.count = s.count;
    v.padded = s.padded(), v.groups = s.groups();
    v.codes = base + s.base, v.code_stride = s.row_stride;
    v.scale_type = s.scale_type, v.scales = base + s.scale_base, v.scale_stride = s.scale_stride;
    v.zero_type = s.zero_type, v.zero_stride = s.zero_stride;
    if (s.zero_type != format::ZeroType::midpoint) v.zeros = base + s.zero_base;
    bits += uint64_t{linear.rows} * s.count * format::bits_of(s.code);
  }
  EXPECT_GE(container->segment(0).size() * 8, bits);
  const model::KernelSet kernels = model::select_kernels(1);
  std::vector<float> row(linear.cols + 64);
  for (uint32_t r = 0; r < linear.rows; ++r) {
    model::dequantise_row(w, r, kernels, row.data());
    for (const QuantisedSlab& s : linear.slabs) {
      for (uint32_t c = 0; c < s.count; ++c)
        ASSERT_EQ(row[s.first + c], value_of(s, r, c)) << "row " << r << " channel " << s.first + c;
    }
  }
}

TEST(Layout, OneSlabOfEveryKindComesBack) {
  std::mt19937 rng(1);
  for (Layout layout : kLayouts) {
    for (CodeType code : kCodes) {
      for (uint32_t group : {32u, 64u, 128u}) {
        for (const auto& [rows, cols] :
             {std::pair{1u, 32u}, {17u, 96u}, {48u, 160u}, {100u, 576u}, {130u, 65u}}) {
          QuantisedLinear l;
          l.name = "w", l.rows = rows, l.cols = cols;
          l.slabs.push_back(random_slab(rng, code, group, rows, 0, cols));
          expect_round_trip(l, layout);
        }
      }
    }
  }
}

TEST(Layout, SlabsOfSeveralWidthsComeBack) {
  std::mt19937 rng(2);
  for (Layout layout : kLayouts) {
    for (uint32_t group : {32u, 64u, 128u}) {
      QuantisedLinear l;
      l.name = "w", l.rows = 50, l.cols = 128 + 256 + 96;
      l.slabs.push_back(random_slab(rng, CodeType::u4, group, l.rows, 0, 128));
      l.slabs.push_back(random_slab(rng, CodeType::u3, group, l.rows, 128, 256));
      l.slabs.push_back(random_slab(rng, CodeType::u2, group, l.rows, 384, 96));
      expect_round_trip(l, layout);
    }
  }
}

TEST(Layout, RefusesSlabsThatDoNotFit) {
  std::mt19937 rng(3);
  const TempDir dir;
  auto pool = ThreadPool::create(1);
  auto writer = format::Writer::create(dir.file("m.mnw"));
  ASSERT_TRUE(pool.ok() && writer.ok());
  ASSERT_TRUE(writer->begin_segment(format::SegmentKind::weights, false).ok());
  QuantisedLinear l;
  l.name = "some.weight", l.rows = 4, l.cols = 96;
  l.slabs.push_back(random_slab(rng, CodeType::u4, 32, 4, 0, 64));
  format::Linear record;
  const Status status = compress::append_quantised(l, Layout::panel, *writer, **pool, record);
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.message().find("some.weight"), std::string::npos) << status.message();
}

/// A matrix of floats as a source.
struct Matrix : compress::TensorSource {
  std::vector<float> values;
  compress::SourceTensor tensor;
  Matrix(uint32_t rows, uint32_t cols, uint32_t seed) : values(uint64_t{rows} * cols) {
    std::mt19937 rng(seed);
    std::normal_distribution<float> normal(0.01f, 0.05f);
    for (float& v : values) v = normal(rng);
    tensor = {"w", compress::SourceType::f32, {rows, cols}, reinterpret_cast<const uint8_t*>(values.data())};
  }
};

TEST(RoundToNearest, NeverLosesAgainstTheFullRangeAndShrinksWithBits) {
  auto pool = ThreadPool::create(2);
  ASSERT_TRUE(pool.ok());
  const Matrix m(24, 200, 5);
  const compress::RowSource source{&m.tensor, 0, 24, 200, 0};
  double last = INFINITY;
  for (CodeType code : kCodes) {
    auto q = compress::round_to_nearest(source, format::bits_of(code), 64, **pool);
    ASSERT_TRUE(q.ok()) << q.status().message();
    const QuantisedSlab& s = q->slabs[0];
    const auto bits = static_cast<int>(format::bits_of(code));
    double error = 0.0;
    for (uint32_t r = 0; r < 24; ++r) {
      for (uint32_t g = 0; g < s.groups(); ++g) {
        const uint32_t end = std::min(200u, (g + 1) * 64);
        double own = 0.0, plain = 0.0;
        float low = 0.0f, high = 0.0f;
        for (uint32_t c = g * 64; c < end; ++c)
          low = std::min(low, m.values[r * 200 + c]), high = std::max(high, m.values[r * 200 + c]);
        // Without a search: the whole range, the zero on the same sixteen places.
        const double top = (1 << bits) - 1, step = std::ldexp(1.0, bits - 4);
        const double scale = f32_of_f16(f16_of_f32(static_cast<float>((high - low) / top)));
        const double zero = std::clamp(std::nearbyint(-low / scale / step), 0.0, 15.0) * step;
        for (uint32_t c = g * 64; c < end; ++c) {
          const double w = m.values[r * 200 + c];
          own += std::pow(w - value_of(s, r, c), 2.0);
          const double code_of = std::clamp(std::nearbyint(w / scale + zero), 0.0, top);
          plain += std::pow(w - scale * (code_of - zero), 2.0);
        }
        if (bits < 8) {
          EXPECT_LE(own, plain * 1.0001) << "row " << r << " group " << g << " bits " << bits;
        }
        error += own;
      }
    }
    EXPECT_LT(error, last / 3.0) << bits;  // a bit more is worth a factor of about four
    last = error;
  }
}

TEST(RoundToNearest, GroupsOfZerosStayZero) {
  auto pool = ThreadPool::create(1);
  ASSERT_TRUE(pool.ok());
  Matrix m(2, 64, 5);
  std::fill(m.values.begin(), m.values.begin() + 64, 0.0f);
  const compress::RowSource source{&m.tensor, 0, 2, 64, 0};
  for (CodeType code : kCodes) {
    auto q = compress::round_to_nearest(source, format::bits_of(code), 32, **pool);
    ASSERT_TRUE(q.ok());
    for (uint32_t c = 0; c < 64; ++c) EXPECT_EQ(value_of(q->slabs[0], 0, c), 0.0f);
  }
}

}  // namespace
}  // namespace minnow::testing
