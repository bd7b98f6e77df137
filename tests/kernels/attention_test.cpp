#include "kernels/attention/attention.h"

#include <algorithm>

#include "kernels/support.h"

MINNOW_PRINT_KERNEL(AttentionKernel)

namespace {

using kernel_test::Guarded;

const AttentionKernel kAll[] = {
#define MINNOW_KERNEL(op, symbol, isa) {AttentionOp::op, #symbol, symbol, isa},
#include "kernels/attention/variants.inc"
#undef MINNOW_KERNEL
};

size_t element_of(AttentionOp op) {
  return op == AttentionOp::attn_f32_f32_f32 ? 4 : op == AttentionOp::attn_f32_f32_f16 ? 2 : 1;
}

enum class Values { random, extreme, zero_scales };

// A cache of rows of one type, with a gap between rows; the last row ends at a guard page.
struct Rows {
  size_t element, stride;
  Guarded<char> bytes;
  Guarded<float> scales;  // every third element is a row's

  Rows(size_t element_size, size_t count, size_t d, Values values, kernel_test::Random& random)
      : element(element_size),
        stride(2 * d * element_size),
        bytes((count - 1) * stride + d * element_size),
        scales((count - 1) * 3 + 1) {
    const bool extreme = values == Values::extreme;
    for (size_t p = 0; p < count; ++p) {
      scales[3 * p] = random.uniform(0.001f, 0.02f);
      if (values == Values::zero_scales && random.integer(0, 1) == 0) scales[3 * p] = 0;
      for (size_t i = 0; i < d; ++i) {
        char* at = bytes.data() + p * stride + i * element;
        const float value = extreme ? (random.integer(0, 1) == 0 ? 30.0f : -30.0f) : random.normal();
        const uint16_t half = kernel_test::random_f16(random);
        const int8_t code = (int8_t)(extreme ? 127 - 254 * random.integer(0, 1) : random.integer(-127, 127));
        std::memcpy(at,
                    element == 4   ? (const void*)&value
                    : element == 2 ? (const void*)&half
                                   : &code,
                    element);
      }
    }
  }
  double scale(size_t p) { return element == 1 ? (double)scales[3 * p] : 1; }
  double code(size_t p, size_t i) {  // without the scale
    const char* place = bytes.data() + p * stride + i * element;
    if (element == 1) return *(const int8_t*)place;
    uint16_t half;
    std::memcpy(&half, place, 2);
    if (element == 2) return kernel_test::value_of_f16(half);
    float value;
    std::memcpy(&value, place, 4);
    return value;
  }
};

struct Case {
  size_t tokens, heads, d, p0, p1, last, window;
  float cap = 0, q_size = 1;
  Values values = Values::random;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << "tokens " << c.tokens << " heads " << c.heads << " d " << c.d << " p [" << c.p0 << ", "
             << c.p1 << ") last " << c.last << " window " << c.window << " cap " << c.cap;
}

// A case's inputs, and what a kernel made of them.
struct Problem {
  Case c;
  size_t element;
  Rows k, v;
  Guarded<float> q;

  Problem(const Case& shape, AttentionOp op, kernel_test::Random& random)
      : c(shape),
        element(element_of(op)),
        k(element, c.p1, c.d, c.values, random),
        v(element, c.p1, c.d, c.values, random),
        q(c.tokens * c.heads * c.d) {
    for (float& x : q) x = c.q_size * random.normal();
  }

  float scale() const { return 1.0f / std::sqrt((float)c.d); }

  void run(AttentionFn fn, Guarded<float>& out, Guarded<float>& max, Guarded<float>& sum) {
    // Nothing may depend on what scratch held.
    std::vector<char> scratch(attention_scratch_bytes(c.d) + 64, (char)0xff);
    AttentionArgs args{};
    args.q = q.data(), args.q_token_stride = c.d, args.q_head_stride = c.tokens * c.d;
    args.tokens = c.tokens, args.heads = c.heads;
    args.k = k.bytes.data(), args.v = v.bytes.data(), args.row_stride = k.stride;
    args.k_scales = k.scales.data(), args.v_scales = v.scales.data(), args.scale_stride = 12;
    args.p0 = c.p0, args.p1 = c.p1, args.last = c.last, args.window = c.window;
    args.d = c.d, args.scale = scale(), args.cap = c.cap;
    args.out = out.data(), args.out_token_stride = c.heads * c.d, args.out_head_stride = c.d;
    args.max = max.data(), args.sum = sum.data();
    args.scratch = (void*)(((uintptr_t)scratch.data() + 63) & ~(uintptr_t)63);
    fn(&args);
  }
};

// One row in double, and the contract's bounds of it.
struct Expected {
  std::vector<double> out, bound;
  double log_sum = -INFINITY;  // log2 of the sum of exp2(x * log2(e))
  double log_bound = 0;
  double flip = 0;  // what one weight rounded the other way can change

  Expected(Problem& p, size_t t, size_t g) : out(p.c.d), bound(p.c.d) {
    const Case& c = p.c;
    const bool q8 = p.element == 1;
    std::vector<double> query(c.d), x, w, step;
    const float* q = p.q.data() + (g * c.tokens + t) * c.d;
    float most = 0;
    for (size_t i = 0; i < c.d; ++i) most = std::max(most, std::abs(q[i]));
    const float inverse = most < 0x1p-100f ? 0.0f : 127.0f / most;
    for (size_t i = 0; i < c.d; ++i)
      query[i] = q8 ? (double)std::nearbyint(q[i] * inverse) * (double)(most / 127.0f) : (double)q[i];
    const size_t limit = c.last + t, end = std::min(limit, c.p1);
    const size_t begin = std::max(c.p0, c.window != 0 && limit > c.window ? limit - c.window : 0);
    if (begin >= end) return;
    double largest = 0, top = -INFINITY;
    for (size_t pos = begin; pos < end; ++pos) {
      double dot = 0, size = 0;
      for (size_t i = 0; i < c.d; ++i) {
        const double term = query[i] * p.k.code(pos, i) * p.k.scale(pos) * (double)p.scale();
        dot += term, size += std::abs(term);
      }
      x.push_back(c.cap == 0 ? dot : (double)c.cap * std::tanh(dot / (double)c.cap));
      largest = std::max(largest, size), top = std::max(top, x.back());
    }
    double total = 0;
    for (double value : x) w.push_back(std::exp(value - top)), total += w.back();
    const size_t n = x.size();
    step.assign(n, 0.0);
    for (size_t i = 0; q8 && i < n; ++i) {
      const size_t tile = (begin + i - c.p0) / kAttentionTile;
      for (size_t j = 0; j < n; ++j) {
        if ((begin + j - c.p0) / kAttentionTile == tile)
          step[i] = std::max(step[i], w[j] * p.v.scale(begin + j) / 255);
      }
    }
    const double e = 0x1p-20 + ((double)c.d + 32) * 0x1p-23 * largest + (double)n * 0x1p-24;
    for (size_t i = 0; i < c.d; ++i) {
      double size = 0, rounding = 0;
      for (size_t j = 0; j < n; ++j) {
        const double code = p.v.code(begin + j, i);
        out[i] += w[j] * p.v.scale(begin + j) * code / total;
        size += w[j] * p.v.scale(begin + j) * std::abs(code) / total;
        rounding += 0.51 * step[j] * std::abs(code) / total;
        flip = std::max(flip, step[j] * 127 / total);
      }
      bound[i] = 2 * e * size + rounding;
    }
    log_sum = std::log2(total) + top * 1.4426950408889634;
    log_bound = 3 * e;
  }
};

class Attention : public kernel_test::KernelTest<AttentionKernel> {
 protected:
  void check(const Case& c) {
    SCOPED_TRACE(testing::Message() << c);
    Problem problem(c, GetParam().op, random);
    const size_t rows = c.tokens * c.heads;
    Guarded<float> out(rows * c.d), max(rows), sum(rows);
    for (float& x : out) x = NAN;
    problem.run(GetParam().fn, out, max, sum);
    for (size_t t = 0; t < c.tokens; ++t) {
      for (size_t g = 0; g < c.heads; ++g) {
        const Expected expected(problem, t, g);
        const size_t r = t * c.heads + g;
        if (expected.log_sum == -INFINITY) {
          ASSERT_EQ(sum[r], 0.0f) << "token " << t << " head " << g;
          ASSERT_EQ(max[r], -INFINITY);
        } else {
          ASSERT_NEAR(std::log2((double)sum[r]) + (double)max[r], expected.log_sum, expected.log_bound)
              << "token " << t << " head " << g;
        }
        for (size_t i = 0; i < c.d; ++i) {
          ASSERT_NEAR(out[r * c.d + i], expected.out[i], expected.bound[i])
              << "token " << t << " head " << g << " d " << i;
        }
      }
    }
  }
};

TEST_P(Attention, EveryHeadCountAndSize) {
  for (size_t d : {32, 64, 96, 128, 160, 256}) {
    for (size_t heads = 1; heads <= 9; ++heads) check({1, heads, d, 0, 37, 37, 0});
  }
}

TEST_P(Attention, EveryLengthOfAPiece) {
  for (size_t p1 = 1; p1 <= 20; ++p1) check({1, 3, 64, 0, p1, p1, 0});
  for (size_t p1 : {31, 63, 64, 65, 127, 128, 129, 191, 255, 256, 257, 300}) check({1, 2, 64, 0, p1, p1, 0});
  for (size_t p0 : {1, 5, 64, 128, 200}) check({1, 4, 32, p0, 333, 333, 0});
}

TEST_P(Attention, TokensSeeWhatLiesBeforeThem) {
  for (size_t tokens : {2, 3, 7, 16}) check({tokens, 4, 64, 0, 200 + tokens, 201, 0});
  check({16, 4, 64, 0, 16, 1, 0});      // a prompt's beginning
  check({64, 1, 32, 0, 64, 1, 0});      // one head
  check({9, 7, 128, 0, 137, 129, 0});   // the edge of a tile
  check({3, 5, 64, 0, 120, 119, 0});    // the last tokens have more positions than there are
  check({4, 2, 64, 256, 258, 255, 0});  // a piece that the first tokens do not see
}

TEST_P(Attention, Windows) {
  for (size_t window : {1, 5, 64, 100, 128, 129, 500}) {
    check({1, 3, 64, 0, 300, 300, window});
    check({16, 4, 64, 128, 316, 301, window});
  }
  check({12, 2, 32, 0, 12, 1, 4});
  check({8, 2, 32, 0, 128, 300, 180});  // a piece that the last tokens no longer see
}

TEST_P(Attention, Caps) {
  for (float cap : {1.0f, 50.0f}) {
    check({1, 3, 64, 0, 300, 300, 0, cap, 5});
    check({8, 4, 64, 0, 140, 133, 60, cap, 5});
  }
}

TEST_P(Attention, LargestValues) {
  for (size_t d : {32, 64, 256}) {
    check({1, 4, d, 0, 257, 257, 0, 0, 0.01f, Values::extreme});
    check({4, 4, d, 0, 260, 257, 0, 0, 4, Values::extreme});  // one weight is nearly all
    check({2, 2, d, 0, 260, 259, 0, 0, 1, Values::zero_scales});
    check({2, 2, d, 0, 200, 199, 0, 0, 0});  // queries of zeros: the mean of V
  }
}

// Whatever cuts the positions, and whatever rows share a call, a row comes out the same.
TEST_P(Attention, ARowDoesNotDependOnTheOthers) {
  Problem all({8, 4, 64, 0, 300, 293, 0}, GetParam().op, random);
  Guarded<float> out(32 * 64), max(32), sum(32);
  all.run(GetParam().fn, out, max, sum);
  for (size_t t = 0; t < 8; ++t) {
    AttentionArgs one{};
    std::vector<char> scratch(attention_scratch_bytes(64) + 64);
    float single[64], top, total;
    one.q = all.q.data() + (8 + t) * 64, one.tokens = one.heads = 1;
    one.k = all.k.bytes.data(), one.v = all.v.bytes.data(), one.row_stride = all.k.stride;
    one.k_scales = all.k.scales.data(), one.v_scales = all.v.scales.data(), one.scale_stride = 12;
    one.p1 = one.last = 293 + t, one.d = 64, one.scale = all.scale();
    one.out = single, one.max = &top, one.sum = &total;
    one.scratch = (void*)(((uintptr_t)scratch.data() + 63) & ~(uintptr_t)63);
    GetParam().fn(&one);
    const size_t r = t * 4 + 1;
    EXPECT_EQ(top, max[r]);
    EXPECT_EQ(total, sum[r]);
    for (size_t i = 0; i < 64; ++i) ASSERT_EQ(single[i], out[r * 64 + i]) << "token " << t << " d " << i;
  }
}

// Products are exact and the rounding is the same, so that levels differ by float noise and by few weights
// that fall on the other side of a half.
TEST_P(Attention, AgreesWithTheFirstVariant) {
  const AttentionKernel* first = nullptr;
  for (const AttentionKernel& kernel : kAll) {
    if (kernel.op == GetParam().op && (kernel.isa & kernel_test::machine_isa()) != 0) {
      first = &kernel;
      break;
    }
  }
  if (first->fn == GetParam().fn || GetParam().isa == kIsaScalar) GTEST_SKIP() << "nothing to compare with";
  Problem problem({8, 4, 96, 0, 500, 493, 0}, GetParam().op, random);
  Guarded<float> a(32 * 96), b(32 * 96), max(32), sum(32);
  problem.run(first->fn, a, max, sum);
  problem.run(GetParam().fn, b, max, sum);
  for (size_t t = 0; t < 8; ++t) {
    for (size_t g = 0; g < 4; ++g) {
      const Expected expected(problem, t, g);
      for (size_t i = 0; i < 96; ++i) {
        const size_t at = (t * 4 + g) * 96 + i;
        ASSERT_NEAR(a[at], b[at], 3 * expected.flip + 1e-5) << "token " << t << " head " << g << " d " << i;
      }
    }
  }
}

TEST_P(Attention, NanScalesGiveNan) {
  if (GetParam().op != AttentionOp::attn_f32_f32_q8) GTEST_SKIP() << "rows have no scales";
  Problem problem({1, 2, 64, 0, 140, 140, 0}, GetParam().op, random);
  problem.k.scales[3 * 70] = NAN;
  Guarded<float> out(2 * 64), max(2), sum(2);
  problem.run(GetParam().fn, out, max, sum);
  for (float x : out) EXPECT_TRUE(std::isnan(x));
}

MINNOW_KERNEL_SUITE(Attention, AttentionKernel, kAll);

}  // namespace
