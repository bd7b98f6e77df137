// nearest, collect and at_least: every variant against the scalar one, and all of them against plain loops.
#include <algorithm>

#include "kernels/at_least/at_least.h"
#include "kernels/collect/collect.h"
#include "kernels/nearest/nearest.h"
#include "kernels/support.h"

MINNOW_PRINT_KERNEL(NearestKernel)
MINNOW_PRINT_KERNEL(CollectKernel)
MINNOW_PRINT_KERNEL(AtLeastKernel)

namespace {

using kernel_test::Guarded;

#define MINNOW_KERNEL(op, symbol, isa) {MINNOW_OP::op, #symbol, symbol, isa},
#define MINNOW_OP NearestOp
const NearestKernel kAllNearests[] = {
#include "kernels/nearest/variants.inc"
};
#undef MINNOW_OP
#define MINNOW_OP CollectOp
const CollectKernel kAllCollects[] = {
#include "kernels/collect/variants.inc"
};
#undef MINNOW_OP
#define MINNOW_OP AtLeastOp
const AtLeastKernel kAllAtLeasts[] = {
#include "kernels/at_least/variants.inc"
};
#undef MINNOW_OP
#undef MINNOW_KERNEL

const uint16_t kUntouched = 54321;

class Nearest : public kernel_test::KernelTest<NearestKernel> {
 protected:
  /// fill(j) makes a score. The last row ends where readable memory does, and so does bias.
  template <class Fill>
  void check(size_t m, size_t n, bool with_bias, const Fill& fill) {
    SCOPED_TRACE(testing::Message() << "m " << m << " n " << n << " bias " << with_bias);
    const size_t stride = n + 5, id_stride = 3;
    Guarded<float> scores((m - 1) * stride + n), bias(n);
    for (float& v : scores) v = NAN;  // between rows
    for (size_t i = 0; i < m; ++i) {
      for (size_t j = 0; j < n; ++j) scores[i * stride + j] = fill(j);
    }
    for (size_t j = 0; j < n; ++j) bias[j] = fill(j);
    Guarded<uint16_t> id((m - 1) * id_stride + 1), reference(id.size());
    std::fill(id.begin(), id.end(), kUntouched);
    NearestArgs args{scores.data(), stride, with_bias ? bias.data() : nullptr, id.data(), id_stride, m, n};
    GetParam().fn(&args);
    args.id = reference.data();
    select_nearest(NearestOp::nearest_u16_f32, 0)->fn(&args);
    for (size_t i = 0; i < m; ++i) {
      size_t want = 0;
      const auto score = [&](size_t j) { return scores[i * stride + j] + (with_bias ? bias[j] : 0.0f); };
      for (size_t j = 1; j < n; ++j) want = score(j) > score(want) ? j : want;
      ASSERT_EQ(id[i * id_stride], want) << "row " << i;
      ASSERT_EQ(reference[i * id_stride], want) << "row " << i;
      for (size_t k = 1; k < id_stride && i + 1 < m; ++k) ASSERT_EQ(id[i * id_stride + k], kUntouched);
    }
  }
};

const size_t kWidths[] = {16, 32, 48, 64, 80, 112, 128, 144, 240, 1024, 1040, 4096};

TEST_P(Nearest, EverySize) {
  for (const size_t n : kWidths) {
    for (const size_t m : {1, 2, 3, 5, 8}) {
      for (const bool bias : {false, true}) check(m, n, bias, [&](size_t) { return random.normal(); });
    }
  }
}

TEST_P(Nearest, MostIds) {
  for (const bool bias : {false, true}) {
    check(2, 65536, bias, [&](size_t) { return random.normal(); });
    check(2, 65536, bias, [&](size_t j) { return j == 65535 ? 1.0f : 0.0f; });
  }
}

TEST_P(Nearest, EveryPlaceOfTheLargest) {
  for (const size_t n : {16, 48, 64, 144}) {
    for (size_t at = 0; at < n; ++at) check(3, n, false, [&](size_t j) { return j == at ? -1.0f : -2.0f; });
  }
}

TEST_P(Nearest, FirstOfEquals) {
  for (const size_t n : kWidths) {
    for (const bool bias : {false, true}) {
      check(3, n, bias, [&](size_t) { return (float)random.integer(0, 2); });
      check(3, n, bias, [&](size_t) { return random.integer(0, (int)n / 2) == 0 ? 1.0f : -1.0f; });
      check(1, n, bias, [&](size_t) { return random.integer(0, 1) == 0 ? 0.0f : -0.0f; });
      for (const float all : {-3.0f, 0.0f, 3e38f, -3e38f, INFINITY, -INFINITY})
        check(1, n, bias, [&](size_t) { return all; });
    }
  }
}

// Sums that round to the same are equal, and ones that differ in the last bit are not.
TEST_P(Nearest, AddsOnceAsFloats) {
  for (int repeat = 0; repeat < 20; ++repeat)
    check(2, 1024, true, [&](size_t) { return 1.0f + (float)random.integer(0, 40) * 0x1p-23f; });
  check(2, 144, true, [&](size_t) { return (float)random.integer(-2, 2) * 0x1p-149f; });
}

TEST_P(Nearest, NotNumbersGiveSomeId) {
  for (const size_t n : {16, 48, 64, 144, 1024}) {
    for (int repeat = 0; repeat < 50; ++repeat) {
      Guarded<float> scores(2 * n), bias(n);
      const int share = random.integer(0, 8);
      for (float& v : scores) v = random.integer(0, 8) < share ? NAN : random.normal();
      for (float& v : bias) v = random.integer(0, 3) == 0 ? -INFINITY : random.normal();
      if (repeat == 0) std::fill(scores.begin(), scores.end(), NAN);
      uint16_t id[2] = {kUntouched, kUntouched};
      const NearestArgs args{scores.data(), n, repeat % 2 != 0 ? bias.data() : nullptr, id, 1, 2, n};
      GetParam().fn(&args);
      ASSERT_LT(id[0], n);
      ASSERT_LT(id[1], n);
    }
  }
}

TEST_P(Nearest, NoRows) {
  const NearestArgs args{nullptr, 16, nullptr, nullptr, 1, 0, 16};
  GetParam().fn(&args);
}

MINNOW_KERNEL_SUITE(Nearest, NearestKernel, kAllNearests);

class Collect : public kernel_test::KernelTest<CollectKernel> {
 protected:
  struct alignas(64) Bitmap {
    uint32_t words[kCollectIds / 32] = {};
  };
  static constexpr uint32_t kBase = 0xffffffc0;  // wraps around, as anything unsigned may

  Bitmap some(double share) {
    Bitmap bitmap;
    for (size_t id = 0; id < kCollectIds; ++id) {
      if (random.uniform(0, 1) < share) bitmap.words[id / 32] |= 1u << id % 32;
    }
    return bitmap;
  }

  void check(Guarded<uint16_t>& ids, const Bitmap& wanted, uint16_t above = 0xffff) {
    const size_t n = ids.size();
    SCOPED_TRACE(testing::Message() << "n " << n);
    std::vector<uint32_t> want;
    for (size_t i = 0; i < n; ++i) {
      const uint32_t id = ids[i] % kCollectIds;
      if (ids[i] > above || (wanted.words[id / 32] >> id % 32 & 1) != 0) want.push_back(kBase + (uint32_t)i);
    }
    Guarded<uint32_t> list((n + kCollectSlack - 1) / kCollectSlack * kCollectSlack);
    size_t count = 12345;
    const CollectArgs args{ids.data(), n, wanted.words, above, list.data(), kBase, &count};
    for (const CollectFn fn : {GetParam().fn, select_collect(CollectOp::collect_u32_u16, 0)->fn}) {
      fn(&args);
      ASSERT_EQ(count, want.size());
      for (size_t i = 0; i < count; ++i) ASSERT_EQ(list[i], want[i]) << "entry " << i;
    }
  }
};

TEST_P(Collect, EverySizeAndShare) {
  std::vector<size_t> sizes = {255, 256, 257, 1000, 1023, 1024, 1025, 1087, 1089, 2048, 5000};
  for (size_t n = 0; n <= 140; ++n) sizes.push_back(n);
  for (const size_t n : sizes) {
    for (const double share : {0.0, 0.01, 0.05, 0.3, 0.9, 1.0}) {
      Guarded<uint16_t> ids(n);
      for (uint16_t& id : ids) id = (uint16_t)random.integer(0, kCollectIds - 1);
      check(ids, some(share > 0 && share < 1 ? share : 0));
      check(ids, some(share));
    }
  }
}

// Above the lowest bits there may be anything.
TEST_P(Collect, TakesWhatLiesAbove) {
  for (const int above : {0, 1, 1023, 1024, 30000, 0x7fff, 0x8000, 60000, 0xfffe, 0xffff}) {
    for (const size_t n : {1, 63, 64, 65, 1000, 3000}) {
      Guarded<uint16_t> ids(n);
      for (uint16_t& id : ids) {
        const int near = above + random.integer(-2, 2);
        id = (uint16_t)(random.integer(0, 1) != 0 ? random.integer(0, 0xffff) : std::clamp(near, 0, 0xffff));
      }
      for (const double share : {0.0, 0.05, 1.0}) check(ids, some(share), (uint16_t)above);
    }
  }
}

// One id is wanted, then all but one: any bit that is looked up in the wrong place shows.
TEST_P(Collect, EveryId) {
  Guarded<uint16_t> ids(kCollectIds + 3);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = (uint16_t)(i * 509 % kCollectIds);
  for (size_t id = 0; id < kCollectIds; ++id) {
    Bitmap bitmap;
    bitmap.words[id / 32] = 1u << id % 32;
    check(ids, bitmap);
    for (uint32_t& word : bitmap.words) word = ~word;
    check(ids, bitmap);
  }
}

// From none to all of 64: the few and the many are listed in different ways.
TEST_P(Collect, EveryCountOfATurn) {
  Bitmap bitmap;
  bitmap.words[1] = 1u << 7;
  for (size_t found = 0; found <= 64; ++found) {
    Guarded<uint16_t> ids(64);
    for (size_t i = 0; i < 64; ++i) ids[i] = i < found ? 39 : 38;
    std::shuffle(ids.begin(), ids.end(), random.engine);
    check(ids, bitmap);
  }
}

TEST_P(Collect, IdsTooHighDoNoHarm) {
  for (const size_t n : {1, 63, 64, 100, 1100}) {
    Guarded<uint16_t> ids(n);
    Guarded<uint32_t> list((n + kCollectSlack - 1) / kCollectSlack * kCollectSlack);
    Guarded<Bitmap> bitmap(1);
    for (const double share : {0.05, 1.0}) {
      *bitmap.data() = some(share);
      for (uint16_t& id : ids) id = (uint16_t)random.integer(kCollectIds, 65535);
      ids[n / 2] = (uint16_t)kCollectIds, ids[0] = 65535;
      size_t count = 12345;
      const CollectArgs args{ids.data(), n, bitmap[0].words, 0xffff, list.data(), 0, &count};
      GetParam().fn(&args);
      ASSERT_LE(count, n);
    }
  }
}

MINNOW_KERNEL_SUITE(Collect, CollectKernel, kAllCollects);

class AtLeast : public kernel_test::KernelTest<AtLeastKernel> {
 protected:
  void check(Guarded<float>& x, float least) {
    const size_t n = x.size();
    SCOPED_TRACE(testing::Message() << "n " << n << " least " << least);
    std::vector<uint32_t> want;
    for (size_t i = 0; i < n; ++i) {
      if (x[i] >= least) want.push_back((uint32_t)i);
    }
    Guarded<uint32_t> list((n + kAtLeastSlack - 1) / kAtLeastSlack * kAtLeastSlack);
    size_t count = 12345;
    const AtLeastArgs args{x.data(), n, least, list.data(), &count};
    for (const AtLeastFn fn : {GetParam().fn, select_at_least(AtLeastOp::at_least_u32_f32, 0)->fn}) {
      fn(&args);
      ASSERT_EQ(count, want.size());
      for (size_t i = 0; i < count; ++i) ASSERT_EQ(list[i], want[i]) << "entry " << i;
    }
  }
};

// From none to all; rounded numbers, so that some are the bound itself.
TEST_P(AtLeast, EverySizeAndBound) {
  std::vector<size_t> sizes = {255, 256, 257, 1000, 1023, 1024, 1025, 1087, 1089, 2048, 4096};
  for (size_t n = 0; n <= 140; ++n) sizes.push_back(n);
  for (const size_t n : sizes) {
    Guarded<float> x(n);
    for (float& v : x) v = std::round(random.uniform(-4, 4) * 8) / 8;
    for (const float least : {-INFINITY, -4.0f, -1.0f, 0.0f, 1.5f, 3.5f, 4.0f, 4.125f, INFINITY})
      check(x, least);
  }
}

TEST_P(AtLeast, OneOfMany) {
  for (size_t at = 0; at < 200; ++at) {
    Guarded<float> x(200);
    std::fill(x.begin(), x.end(), -1.0f);
    x[at] = 1.0f;
    check(x, 1.0f);
  }
}

TEST_P(AtLeast, WhatIsNoNumberReachesNothing) {
  Guarded<float> x(150);
  const float odd[] = {NAN, -NAN, INFINITY, -INFINITY, 0.0f, -0.0f, 1e-45f, -1e-45f, 3e38f};
  for (size_t i = 0; i < x.size(); ++i) x[i] = odd[i % std::size(odd)];
  for (const float least : odd) check(x, least);
}

MINNOW_KERNEL_SUITE(AtLeast, AtLeastKernel, kAllAtLeasts);

}  // namespace
