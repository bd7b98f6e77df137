// score and weigh: every variant against references in double.
#include "kernels/score/score.h"

#include <algorithm>
#include <functional>

#include "kernels/support.h"
#include "kernels/weigh/weigh.h"

MINNOW_PRINT_KERNEL(ScoreKernel)
MINNOW_PRINT_KERNEL(WeighKernel)

namespace {

using kernel_test::Guarded;
using kernel_test::value_of_f16;

#define MINNOW_KERNEL(op, symbol, isa) {MINNOW_OP::op, #symbol, symbol, isa},
#define MINNOW_OP ScoreOp
const ScoreKernel kAllScores[] = {
#include "kernels/score/variants.inc"
};
#undef MINNOW_OP
#define MINNOW_OP WeighOp
const WeighKernel kAllWeighs[] = {
#include "kernels/weigh/variants.inc"
};
#undef MINNOW_OP
#undef MINNOW_KERNEL

const size_t kHeadCounts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 17, 64};
const size_t kDims[] = {32, 64, 96, 128, 256};
const size_t kCounts[] = {16, 48, 1024};
const float kUntouched = 54321;

template <class T>
size_t last_of(size_t rows, size_t stride, const T& row) {
  return (rows - 1) * stride + row;
}

class Score : public kernel_test::KernelTest<ScoreKernel> {
 protected:
  void check(size_t heads, size_t n, size_t dim, const std::function<float()>& fill) {
    SCOPED_TRACE(testing::Message() << "heads " << heads << " n " << n << " dim " << dim);
    const size_t q_stride = dim + 3, y_stride = n + 5;
    Guarded<float> q(last_of(heads, q_stride, dim)), y(last_of(heads, y_stride, n));
    Guarded<uint16_t> k(n * dim);
    std::fill(q.begin(), q.end(), NAN);  // between rows
    std::fill(y.begin(), y.end(), kUntouched);
    for (uint16_t& v : k) v = kernel_test::random_f16(random);
    for (size_t g = 0; g < heads; ++g) std::generate_n(&q[g * q_stride], dim, fill);
    std::vector<double> keys(n * dim);
    for (size_t m = 0; m < n; ++m) {
      for (size_t d = 0; d < dim; ++d) keys[m * dim + d] = value_of_f16(k[(m / 16 * dim + d) * 16 + m % 16]);
    }
    const ScoreArgs args{q.data(), q_stride, k.data(), y.data(), y_stride, heads, n, dim};
    GetParam().fn(&args);
    for (size_t g = 0; g < heads; ++g) {
      const float* row = &q[g * q_stride];
      for (size_t m = 0; m < n; ++m) {
        double want = 0, size = 0;
        for (size_t d = 0; d < dim; ++d) {
          const double product = (double)row[d] * keys[m * dim + d];
          want += product, size += std::abs(product);
        }
        ASSERT_NEAR(y[g * y_stride + m], want, (double)(dim + 8) * 0x1p-24 * size) << g << ", " << m;
      }
      for (size_t m = n; m < y_stride && g + 1 < heads; ++m) ASSERT_EQ(y[g * y_stride + m], kUntouched);
    }
  }
};

TEST_P(Score, EverySize) {
  for (const size_t heads : kHeadCounts) {
    for (const size_t dim : kDims) {
      for (const size_t n : kCounts) check(heads, n, dim, [&] { return random.normal(); });
    }
  }
}

// More panels than are fetched ahead, longer than a stretch of them, and odd numbers of both.
TEST_P(Score, ManyPanelsAndLongOnes) {
  for (const size_t n : {16, 32, 112, 528, 2064}) check(5, n, 64, [&] { return random.normal(); });
  for (const size_t dim : {160, 544, 1024}) check(3, 80, dim, [&] { return random.normal(); });
}

TEST_P(Score, EverySizeOfNumber) {
  check(6, 48, 64, [&] { return random.normal() * std::exp2((float)random.integer(-100, 100)); });
}

// Every key and dimension has its own value, so that one read from a wrong place shows; sums are exact.
TEST_P(Score, EveryPlace) {
  const size_t n = 1024, dim = 64;
  Guarded<uint16_t> k(n * dim);
  Guarded<float> q(dim), y(n);
  for (size_t d = 0; d < dim; ++d) {
    std::fill(k.begin(), k.end(), (uint16_t)0x7bff);
    std::fill(q.begin(), q.end(), 0.0f);
    q[d] = 1;
    for (size_t m = 0; m < n; ++m) k[(m / 16 * dim + d) * 16 + m % 16] = (uint16_t)(m * 7 + d);
    const ScoreArgs args{q.data(), dim, k.data(), y.data(), n, 1, n, dim};
    GetParam().fn(&args);
    for (size_t m = 0; m < n; ++m) ASSERT_EQ(y[m], value_of_f16((uint16_t)(m * 7 + d))) << m << ", " << d;
  }
}

TEST_P(Score, RowsDoNotDependOnOthers) {
  const size_t n = 80, dim = 96;
  for (const size_t heads : kHeadCounts) {
    Guarded<uint16_t> k(n * dim);
    Guarded<float> q(heads * dim), y(heads * n), alone(n);
    for (uint16_t& v : k) v = kernel_test::random_f16(random);
    for (float& v : q) v = random.normal();
    ScoreArgs args{q.data(), dim, k.data(), y.data(), n, heads, n, dim};
    GetParam().fn(&args);
    args.heads = 1, args.y = alone.data();
    for (size_t g = 0; g < heads; ++g, args.q += dim) {
      GetParam().fn(&args);
      for (size_t m = 0; m < n; ++m) ASSERT_EQ(y[g * n + m], alone[m]) << heads << " heads, " << g;
    }
  }
}

MINNOW_KERNEL_SUITE(Score, ScoreKernel, kAllScores);

class Weigh : public kernel_test::KernelTest<WeighKernel> {
 protected:
  struct Case {
    size_t heads, n, dim;
    float unit;
    std::function<float(size_t g, size_t m)> x;
    std::function<float(size_t m)> bias;
    size_t rows = SIZE_MAX;  // of v that there are: the others may not be read
    size_t period = 0;       // scores that far apart count the same row; 0: none do
  };
  /// What lies in args is readable and writable to its end, no further.
  void check(const Case& c) {
    SCOPED_TRACE(testing::Message() << "heads " << c.heads << " n " << c.n << " dim " << c.dim);
    const size_t x_stride = c.n + 3, row = c.dim + 7, out_stride = c.dim + 5;
    const size_t period = c.period == 0 ? c.n : c.period, rows = std::min(c.rows, period);
    Guarded<float> x(last_of(c.heads, x_stride, c.n)), bias(c.n), out(last_of(c.heads, out_stride, c.dim));
    Guarded<float> max(c.heads), sum(c.heads);
    Guarded<uint16_t> v(rows == 0 ? 0 : last_of(rows, row, c.dim));
    struct Line {
      char bytes[64];
    };
    Guarded<Line> scratch((weigh_scratch_bytes(c.n) + 63) / 64);
    std::fill((float*)scratch.begin(), (float*)scratch.end(), NAN);
    std::fill(x.begin(), x.end(), NAN);
    std::fill(v.begin(), v.end(), (uint16_t)0x7e00);
    std::fill(out.begin(), out.end(), kUntouched);
    std::vector<double> values(rows * c.dim);
    for (size_t m = 0; m < rows; ++m) {
      for (size_t d = 0; d < c.dim; ++d) {
        v[m * row + d] = kernel_test::random_f16(random);
        values[m * c.dim + d] = value_of_f16(v[m * row + d]);
      }
    }
    for (size_t m = 0; m < c.n; ++m) {
      bias[m] = c.bias(m);
      for (size_t g = 0; g < c.heads; ++g) x[g * x_stride + m] = c.x(g, m);
    }
    WeighArgs args{x.data(),   x_stride,   c.unit,  bias.data(), v.data(), row * 2, out.data(),    out_stride,
                   max.data(), sum.data(), c.heads, c.n,         period,   c.dim,   scratch.data()};
    GetParam().fn(&args);
    for (size_t g = 0; g < c.heads; ++g) {
      std::vector<double> w(c.n), want(c.dim), sizes(c.dim);
      double top = -INFINITY, total = 0, most = 0;
      for (size_t m = 0; m < c.n; ++m) {
        const double product = (double)c.unit * (double)x[g * x_stride + m];
        w[m] = product + (double)bias[m];
        top = std::max(top, w[m]);
        if (w[m] != -INFINITY) most = std::max(most, std::abs(product) + std::abs((double)bias[m]));
      }
      for (size_t m = 0; m < c.n; ++m) {
        w[m] = w[m] == -INFINITY ? 0 : std::exp2(w[m] - top);
        total += w[m];
        for (size_t d = 0; d < c.dim && m % period < rows; ++d) {
          const double product = w[m] * values[m % period * c.dim + d];
          want[d] += product, sizes[d] += std::abs(product);
        }
      }
      const float* to = &out[g * out_stride];
      for (size_t d = c.dim; d < out_stride && g + 1 < c.heads; ++d) ASSERT_EQ(to[d], kUntouched);
      if (total == 0) {
        ASSERT_EQ(max[g], -INFINITY);
        ASSERT_EQ(sum[g], 0);
        for (size_t d = 0; d < c.dim; ++d) ASSERT_EQ(to[d], 0);
        continue;
      }
      const double e = 0x1p-21 + 0x1p-22 * most + (double)c.n * 0x1p-24;
      ASSERT_NEAR(max[g], top, 0x1p-23 * most);
      ASSERT_NEAR(max[g] + std::log2((double)sum[g]), top + std::log2(total), 2 * e);
      for (size_t d = 0; d < c.dim; ++d) {
        const double bound = 2 * e * sizes[d] / total + (double)c.n * 0x1p-109;
        ASSERT_NEAR(to[d], want[d] / total, bound) << "head " << g << " column " << d;
      }
    }
  }
  Case normal(size_t heads, size_t n, size_t dim) {
    return {heads,
            n,
            dim,
            0.18f,
            [this](size_t, size_t) { return 10 * random.normal(); },
            [this](size_t) { return 3 * random.normal(); }};
  }
};

TEST_P(Weigh, EverySize) {
  for (const size_t heads : kHeadCounts) {
    for (const size_t dim : kDims) {
      for (const size_t n : kCounts) check(normal(heads, n, dim));
    }
  }
  for (const size_t n : {32, 112, 528, 2064}) check(normal(5, n, 64));
  for (const size_t dim : {160, 544, 1024}) check(normal(3, 80, dim));
}

TEST_P(Weigh, MaxAndSumAlone) {
  for (const size_t heads : kHeadCounts) {
    for (const size_t n : kCounts) {
      Case c = normal(heads, n, 0);
      c.rows = 0;
      check(c);
    }
  }
}

TEST_P(Weigh, SeveralScoresOfARow) {
  for (const size_t heads : kHeadCounts) {
    for (const size_t times : {2, 3, 4}) {
      for (const size_t period : {16, 48, 528}) {
        Case c = normal(heads, times * period, 64);
        c.period = period;
        check(c);
        // Rows that weigh nothing but for their last score, and those that never do.
        c.rows = 32;
        c.bias = [&](size_t m) { return m / period + 1 == times && m % period < 32 ? 1.0f : -INFINITY; };
        check(c);
      }
    }
  }
}

TEST_P(Weigh, NoBias) {
  for (const size_t n : kCounts) {
    Case c = normal(4, n, 64);
    c.bias = [](size_t) { return 0.0f; };
    check(c);
    c.x = [](size_t, size_t) { return 0.0f; };
    check(c);
    c.unit = -1;
    c.x = [&](size_t, size_t) { return random.normal(); };
    check(c);
  }
}

TEST_P(Weigh, TakesOut) {
  for (const size_t heads : {1, 4, 7, 9}) {
    for (const size_t n : kCounts) {
      for (const int one_in : {2, 10, 30}) {
        Case c = normal(heads, n, 96);
        c.bias = [&](size_t) { return random.integer(1, one_in) > 1 ? -INFINITY : random.normal(); };
        check(c);
      }
      for (const size_t kept : {(size_t)0, (size_t)15, n / 2, n - 1}) {  // one of all
        Case c = normal(heads, n, 64);
        c.bias = [&](size_t m) { return m == kept ? -7.0f : -INFINITY; };
        check(c);
      }
      for (const size_t period : {2, 3, 40}) {  // whole groups
        Case c = normal(heads, n, 64);
        c.bias = [&](size_t m) { return m / 16 % period == period - 1 ? 2.0f : -INFINITY; };
        check(c);
        c.bias = [&](size_t m) { return m / 16 % period != 0 ? 2.0f : -INFINITY; };
        check(c);
      }
    }
  }
}

TEST_P(Weigh, EverythingOut) {
  for (const size_t heads : {1, 3, 8, 9}) {
    for (const size_t n : kCounts) {
      Case c = normal(heads, n, 96);
      c.bias = [](size_t) { return -INFINITY; };
      c.rows = 0;
      check(c);
      c = normal(heads, n, 96);  // by scores, for every second head
      c.x = [&](size_t g, size_t) { return g % 2 == 0 ? -INFINITY : random.normal(); };
      check(c);
    }
  }
}

// Weights vanish, or come near it.
TEST_P(Weigh, FarApart) {
  for (const float size : {30.0f, 126.0f, 150.0f, 1e3f, 1e6f, 1e30f}) {
    for (const size_t heads : {1, 4, 9}) {
      Case c = normal(heads, 1024, 64);
      c.unit = 1;
      c.x = [&](size_t, size_t) { return size * random.normal(); };
      check(c);
      c.x = [&](size_t g, size_t m) { return m == 77 * g % 1024 ? 0.0f : -size; };
      check(c);
      c.x = [&](size_t, size_t m) { return -(float)m * size / 1024; };
      check(c);
    }
  }
}

// Where the rest of v would be, nothing can be read.
TEST_P(Weigh, DoesNotReadWhatWeighsNothing) {
  for (const size_t heads : {1, 4, 5, 9}) {
    for (const size_t rows : {16, 48, 512}) {
      for (const bool out : {false, true}) {
        Case c = normal(heads, 1024, 64);
        c.rows = rows;
        c.bias = [&](size_t m) { return m < rows ? 0.0f : out ? -INFINITY : -1000.0f; };
        check(c);
      }
    }
  }
}

// The same bits alone and among others, whichever groups those need.
TEST_P(Weigh, HeadsDoNotDependOnOthers) {
  const size_t n = 528, dim = 96;
  for (const size_t heads : kHeadCounts) {
    Guarded<float> x(heads * n), bias(n), out(heads * dim), alone(dim);
    Guarded<uint16_t> v(n * dim);
    std::vector<float> max(heads), sum(heads);
    std::vector<char> scratch(weigh_scratch_bytes(n));
    for (uint16_t& value : v) value = kernel_test::random_f16(random);
    for (float& value : bias) value = random.normal();
    for (size_t i = 0; i < x.size(); ++i) {
      const bool here = (i / n + i % n / 16) % 3 == 0 || random.integer(0, 200) == 0;
      x[i] = here ? random.normal() : -500.0f;
    }
    WeighArgs args{x.data(),   n,          1,     bias.data(), v.data(), dim * 2, out.data(),    dim,
                   max.data(), sum.data(), heads, n,           n,        dim,     scratch.data()};
    GetParam().fn(&args);
    args.heads = 1, args.out = alone.data();
    for (size_t g = 0; g < heads; ++g, args.x += n) {
      float top, total;
      args.max = &top, args.sum = &total;
      GetParam().fn(&args);
      ASSERT_EQ(max[g], top);
      ASSERT_EQ(sum[g], total);
      for (size_t d = 0; d < dim; ++d) ASSERT_EQ(out[g * dim + d], alone[d]) << heads << " heads, " << g;
      args.max = args.sum = nullptr;
      std::fill(alone.begin(), alone.end(), kUntouched);
      GetParam().fn(&args);
      for (size_t d = 0; d < dim; ++d) ASSERT_EQ(out[g * dim + d], alone[d]);
    }
  }
}

// Not in the contract, but no harm is done, and other heads are as they were.
TEST_P(Weigh, NotNumbersStayWithTheirHead) {
  const size_t n = 48, dim = 32, heads = 6;
  for (const float odd : {NAN, INFINITY}) {
    for (size_t at = 0; at < n; ++at) {
      Guarded<float> x(heads * n), bias(n), out(heads * dim);
      Guarded<uint16_t> v(n * dim);
      std::vector<float> max(heads), sum(heads);
      std::vector<char> scratch(weigh_scratch_bytes(n));
      for (float& value : x) value = random.normal();
      std::fill(v.begin(), v.end(), (uint16_t)0x3c00);
      x[2 * n + at] = odd;
      const WeighArgs args{x.data(),   n,          1,     bias.data(), v.data(), dim * 2, out.data(),    dim,
                           max.data(), sum.data(), heads, n,           n,        dim,     scratch.data()};
      GetParam().fn(&args);
      for (size_t g = 0; g < heads; ++g) {
        for (size_t d = 0; d < dim; ++d) {
          if (g == 2)
            ASSERT_TRUE(std::isnan(out[g * dim + d]));
          else
            ASSERT_NEAR(out[g * dim + d], 1, 1e-5);
        }
      }
    }
  }
}

MINNOW_KERNEL_SUITE(Weigh, WeighKernel, kAllWeighs);

}  // namespace
