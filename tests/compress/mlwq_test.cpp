// The parts of MLWQ one by one: factor, grids, error compensation, schemes, budget, orders.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>

#include "compress/mlwq/gptq.h"
#include "compress/mlwq/grid.h"
#include "compress/mlwq/orders.h"
#include "compress/mlwq/scheme.h"
#include "compress/mlwq/work.h"

namespace minnow::testing {
namespace {

using namespace compress;

Matrix random_matrix(size_t rows, size_t cols, uint32_t seed) {
  Matrix m(rows, cols);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (float& v : m.span()) v = normal(random);
  return m;
}

/// Inputs whose channels are correlated and of very different size, as a model's are.
Matrix inputs(size_t tokens, size_t cols, uint32_t seed) {
  Matrix x = random_matrix(tokens, cols, seed);
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t c = 1; c < cols; ++c) x.row(t)[c] += 0.7f * x.row(t)[c - 1];
    for (size_t c = 0; c < cols; ++c) x.row(t)[c] *= 1.0f + static_cast<float>(c % 7);
  }
  return x;
}

class Mlwq : public ::testing::Test {
 protected:
  std::unique_ptr<ThreadPool> pool = std::move(ThreadPool::create(2)).value();

  Matrix second_moments(size_t cols, uint32_t seed = 3) {
    Moments m;
    add_moments(m, inputs(4 * cols, cols, seed), nullptr, *pool);
    return *damped(m, natural_order(cols), 0.01);
  }
  double error(const Matrix& w, const GptqResult& r, const Matrix& h) {
    const auto rows = row_errors(w, r.values, h, *pool);
    return std::accumulate(rows.begin(), rows.end(), 0.0);
  }
};

TEST_F(Mlwq, MomentsAreSumsOverTokens) {
  const Matrix x = inputs(50, 37, 1);
  std::vector<float> weights(50);
  for (size_t t = 0; t < weights.size(); ++t) weights[t] = 0.5f + static_cast<float>(t % 3);
  Moments m;
  add_moments(m, x, weights.data(), *pool);
  for (size_t i = 0; i < 37; ++i) {
    for (size_t j = 0; j <= i; ++j) {
      double sum = 0.0;
      for (size_t t = 0; t < 50; ++t) sum += double{weights[t]} * x.row(t)[i] * x.row(t)[j];
      EXPECT_NEAR(m.second.row(i)[j], sum, 1e-4 * (std::fabs(sum) + 10.0));
    }
  }
}

TEST_F(Mlwq, DriftIsASumOverTokens) {
  const Matrix x = inputs(50, 37, 1), wanted = inputs(50, 300, 2), had = inputs(50, 300, 3);
  std::vector<float> weights(50);
  for (size_t t = 0; t < weights.size(); ++t) weights[t] = 0.5f + static_cast<float>(t % 3);
  Matrix all, none;
  add_drift(all, wanted, had, x, weights.data(), *pool);
  add_drift(all, wanted, had, x, nullptr, *pool);
  add_drift(none, had, had, x, nullptr, *pool);
  for (size_t i = 0; i < 300; ++i) {
    for (size_t j = 0; j < 37; ++j) {
      double sum = 0.0;
      for (size_t t = 0; t < 50; ++t)
        sum += (1.0 + weights[t]) * (wanted.row(t)[i] - had.row(t)[i]) * x.row(t)[j];
      ASSERT_NEAR(all.row(i)[j], sum, 1e-4 * (std::fabs(sum) + 10.0));
      ASSERT_EQ(none.row(i)[j], 0.0f);
    }
  }
}

// On drifted inputs the weights that make up for it come nearer to the float model's outputs, also where a
// residual has drifted, and do nothing where nothing has.
TEST_F(Mlwq, WeightsMakeUpForDrift) {
  const size_t tokens = 600, cols = 96, rows = 130;
  const Matrix x = inputs(tokens, cols, 1), w = random_matrix(rows, cols, 2);
  Matrix drifted = x;
  for (size_t t = 0; t < tokens; ++t) {  // shrunk, and one channel leaks into the next
    for (size_t c = 0; c < cols; ++c)
      drifted.row(t)[c] = 0.9f * x.row(t)[c] + 0.2f * x.row(t)[(c + 1) % cols];
  }
  Matrix residual(tokens, rows), none(tokens, rows);
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t r = 0; r < rows; ++r) residual.row(t)[r] = 0.3f * x.row(t)[r % cols];
  }
  Moments m;
  add_moments(m, drifted, nullptr, *pool);
  const Order order = descending([&] {
    std::vector<double> keys(cols);
    for (size_t c = 0; c < cols; ++c) keys[c] = static_cast<double>((c * 37) % cols);
    return keys;
  }());
  const Matrix h = *damped(m, order, 1e-4);
  const Factor f = *factor_inverse(h, *pool);
  Drift drift, still;
  add_drift(drift.inputs, x, drifted, drifted, nullptr, *pool);
  add_drift(drift.residual, residual, none, drifted, nullptr, *pool);
  add_drift(still.inputs, drifted, drifted, drifted, nullptr, *pool);
  drift.weight = still.weight = m.weight;
  // squared error of the outputs plus residual, weights in the source's order of channels
  const auto error = [&](const Matrix& v) {
    double sum = 0.0;
    for (size_t t = 0; t < tokens; ++t) {
      for (size_t r = 0; r < rows; ++r) {
        const double e =
            dot(w.row(r), x.row(t), cols) + residual.row(t)[r] - dot(v.row(r), drifted.row(t), cols);
        sum += e * e;
      }
    }
    return sum;
  };
  const auto made_up = [&](const Drift& d, double share) {
    Matrix v = permuted_columns(w, order), back = w;
    make_up(v, 0, in_order(d, order, share), h, f, *pool);
    restore_columns(v, order, back);
    return back;
  };
  const double before = error(w), half = error(made_up(drift, 0.5)), whole = error(made_up(drift, 1.0));
  EXPECT_NEAR(half, 0.25 * before, 0.02 * before);
  EXPECT_LT(whole, 0.01 * before);
  const Matrix same = made_up(still, 1.0);
  for (size_t i = 0; i < w.size(); ++i) ASSERT_EQ(same.data()[i], w.data()[i]);
  Matrix part = permuted_columns(w, order);  // the last rows alone
  Matrix last(30, cols);
  std::copy_n(part.row(100), last.size(), last.data());
  make_up(last, 100, in_order(drift, order, 1.0), h, f, *pool);
  make_up(part, 0, in_order(drift, order, 1.0), h, f, *pool);
  for (size_t i = 0; i < last.size(); ++i) ASSERT_NEAR(last.data()[i], part.row(100)[i], 1e-4);
  // Drift of tokens far larger than those of H: the change is held to what the weights give out.
  Drift large = still;
  for (size_t i = 0; i < large.inputs.size(); ++i) large.inputs.data()[i] = 1e4f * drift.inputs.data()[i];
  const Matrix from = permuted_columns(w, order);
  Matrix to = from;
  make_up(to, 0, in_order(large, order, 1.0), h, f, *pool);
  const auto gives = [&](const Matrix& v, size_t r0, size_t r1) {
    double sum = 0.0;
    for (size_t r = r0; r < r1; ++r) {
      for (size_t i = 0; i < cols; ++i) sum += double{v.row(r)[i]} * double{dot(h.row(i), v.row(r), cols)};
    }
    return sum;
  };
  Matrix change = to;
  for (size_t i = 0; i < change.size(); ++i) change.data()[i] -= from.data()[i];
  for (const auto& [r0, r1] : {std::pair<size_t, size_t>{0, 64}, {64, 128}, {128, rows}})
    EXPECT_NEAR(gives(change, r0, r1), gives(from, r0, r1), 1e-3 * gives(from, r0, r1)) << r0;
}

// Tokens that drift is followed over may be fewer and larger than those beside them. H of all would then take
// the weights far past what makes up for it; few or many, they go half of the way.
TEST_F(Mlwq, FewFollowedTokensDoNotOvershoot) {
  const size_t tokens = 600, cols = 64, rows = 24;
  const Matrix x = inputs(tokens, cols, 1), w = random_matrix(rows, cols, 2);
  Matrix drifted = x, small = inputs(10 * tokens, cols, 3);
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t c = 0; c < cols; ++c)
      drifted.row(t)[c] = 0.9f * x.row(t)[c] + 0.2f * x.row(t)[(c + 1) % cols];
  }
  for (float& v : small.span()) v *= 0.1f;
  const auto error = [&](const Matrix& v) {
    double sum = 0.0;
    for (size_t t = 0; t < tokens; ++t) {
      for (size_t r = 0; r < rows; ++r) {
        const double e = dot(w.row(r), x.row(t), cols) - dot(v.row(r), drifted.row(t), cols);
        sum += e * e;
      }
    }
    return sum;
  };
  const Order order = natural_order(cols);
  const ImportedLinear source{"x", {nullptr, 0, rows, cols}, {}};
  Work work;
  work.source = &source, work.stored = &order;
  work.found.salience.assign(cols, 1.0);
  work.found.candidates.push_back({{{{8, 64, cols}}}, 0, 0.0});
  for (const size_t others : {size_t{0}, tokens / 2, 10 * tokens}) {
    SeenInputs seen;
    add_moments(seen.followed, drifted, nullptr, *pool);
    Matrix beside(others, cols);
    std::copy_n(small.data(), beside.size(), beside.data());
    if (others != 0) add_moments(seen.others, beside, nullptr, *pool);
    add_drift(seen.drift.inputs, x, drifted, drifted, nullptr, *pool);
    seen.drift.weight = static_cast<double>(tokens);
    MlwqOptions options;
    options.damping = 1e-4;
    Matrix v = w;
    ASSERT_TRUE(quantise_work(work, std::move(seen), v, options, *pool).ok());
    // With others of hardly any size H of all is smaller by their number.
    const double moved = 0.5 * static_cast<double>(others > tokens ? tokens : tokens + others) / tokens;
    EXPECT_NEAR(error(v), std::pow(1.0 - moved, 2.0) * error(w), 0.05 * error(w)) << others;
  }
}

// What compensation knows of its error is the error.
TEST_F(Mlwq, CompensationKnowsItsError) {
  const size_t cols = 192, rows = 21;
  const Matrix w = random_matrix(rows, cols, 5), h = second_moments(cols);
  const std::vector<Group> groups = groups_of({{{4, 64, 64}, {2, 64, 128}}});
  const Factor f = *factor_inverse(h, *pool);
  const GptqResult r = *quantise_linear(w, h, f, groups, {}, *pool);
  const std::vector<double> errors = row_errors(w, r.values, h, *pool);
  ASSERT_EQ(r.errors.size(), rows);
  for (size_t i = 0; i < rows; ++i) EXPECT_NEAR(r.errors[i], errors[i], 1e-4 * errors[i]);
  GptqOptions plain;
  plain.compensate = false;
  EXPECT_TRUE(quantise_linear(w, h, f, groups, plain, *pool)->errors.empty());
}

// Moments of two lots of tokens add up to those of all.
TEST_F(Mlwq, MomentsOfLotsAddUp) {
  const Matrix x = inputs(50, 37, 1), y = inputs(70, 37, 2);
  Moments sum, other, all;
  add_moments(other, x, nullptr, *pool);
  sum.add(other);
  sum.add({});
  other = {};
  add_moments(other, y, nullptr, *pool);
  sum.add(other);
  add_moments(all, x, nullptr, *pool);
  add_moments(all, y, nullptr, *pool);
  EXPECT_EQ(sum.weight, 120.0);
  for (size_t i = 0; i < 37; ++i) {
    EXPECT_NEAR(sum.first[i], all.first[i], 1e-4 * (std::fabs(all.first[i]) + 1.0));
    for (size_t j = 0; j <= i; ++j)
      EXPECT_NEAR(sum.second.row(i)[j], all.second.row(i)[j],
                  1e-4 * (std::fabs(all.second.row(i)[j]) + 10.0));
  }
}

TEST_F(Mlwq, FactorOfTheInverse) {
  for (size_t n : {1, 31, 64, 65, 200}) {
    const Matrix h = second_moments(n);
    const auto f = factor_inverse(h, *pool);
    ASSERT_TRUE(f.ok());
    // U^T U H = 1
    double worst = 0.0;
    for (size_t i = 0; i < n; ++i) {
      std::vector<double> row(n, 0.0);  // of U^T U
      for (size_t k = 0; k <= i; ++k) {
        for (size_t j = k; j < n; ++j) row[j] += double{f->upper.row(k)[i]} * f->upper.row(k)[j];
      }
      EXPECT_NEAR(f->inverse[i], row[i], 1e-5 * row[i]);
      for (size_t j = 0; j < n; ++j) {
        double sum = 0.0;
        for (size_t k = 0; k < n; ++k) sum += row[k] * h.row(k)[j];
        worst = std::max(worst, std::fabs(sum - (i == j ? 1.0 : 0.0)));
      }
    }
    EXPECT_LT(worst, 1e-3) << n;  // the factor is kept in f32; H is damped to a condition of about 1e4
  }
}

TEST_F(Mlwq, AZeroInputNeedsNoCare) {
  Matrix x = inputs(100, 40, 5);
  for (size_t t = 0; t < 100; ++t) x.row(t)[7] = 0.0f;
  Moments m;
  add_moments(m, x, nullptr, *pool);
  const auto h = damped(m, natural_order(40), 0.01);
  ASSERT_TRUE(h.ok());
  EXPECT_GT(h->row(7)[7], 0.0f);
  EXPECT_TRUE(factor_inverse(*h, *pool).ok());
}

TEST_F(Mlwq, MomentsThatAreNotFiniteAreRefused) {
  Matrix x = inputs(10, 8, 5);
  x.row(3)[2] = INFINITY;
  Moments m;
  add_moments(m, x, nullptr, *pool);
  const auto h = damped(m, natural_order(8), 0.01);
  ASSERT_FALSE(h.ok());
  EXPECT_NE(h.status().message().find("not finite"), std::string::npos);
}

TEST(Grid, WithoutSearchItIsMinimumAndMaximum) {
  const float w[] = {-1.0f, 0.5f, 2.0f, 0.0f};
  for (uint32_t bits : {2u, 3u, 4u}) {
    const Grid g = fit_grid(w, nullptr, 4, bits, ClipSearch::none);
    const float top = static_cast<float>((1u << bits) - 1);
    EXPECT_EQ(g.scale, nearest_half(3.0f / top));
    EXPECT_EQ(g.zero, std::nearbyint(top / 3.0f / zero_step(static_cast<int>(bits))) *
                          zero_step(static_cast<int>(bits)));
  }
}

TEST(Grid, ASearchNeverLosesToNone) {
  for (uint32_t bits : {2u, 3u, 4u}) {
    for (uint32_t n : {32u, 33u, 64u, 128u}) {
      const Matrix w = random_matrix(1, n, n + bits);
      std::vector<float> importance(n);
      for (uint32_t i = 0; i < n; ++i) importance[i] = 0.1f + static_cast<float>(i % 5);
      const auto error = [&](ClipSearch search, bool weighted) {
        const Grid g = fit_grid(w.row(0), importance.data(), n, bits, search);
        double sum = 0.0;
        for (uint32_t i = 0; i < n; ++i) {
          const float v = value_of(g, Rounding(g, bits)(w.row(0)[i]));
          sum += (weighted ? importance[i] : 1.0f) * std::pow(double{w.row(0)[i]} - v, 2.0);
        }
        return sum;
      };
      EXPECT_LE(error(ClipSearch::plain, false), error(ClipSearch::none, false) * 1.0001);
      EXPECT_LE(error(ClipSearch::weighted, true), error(ClipSearch::none, true) * 1.0001);
    }
  }
}

TEST(Grid, ZerosAloneGiveZeros) {
  const std::vector<float> w(64, 0.0f);
  for (uint32_t bits : {2u, 3u, 4u, 8u}) {
    const Grid g = fit_grid(w.data(), nullptr, 64, bits, ClipSearch::weighted);
    EXPECT_EQ(value_of(g, Rounding(g, bits)(0.0f)), 0.0f);
  }
}

TEST(Grid, EightBitsClipNothingAndKeepToOneTo255) {
  for (uint32_t seed = 0; seed < 50; ++seed) {
    const Matrix w = random_matrix(1, 64, seed);
    const Grid g = fit_grid(w.data(), nullptr, 64, 8, ClipSearch::weighted);
    const Rounding round(g, 8);
    float largest = 0.0f;
    for (float v : w.span()) largest = std::max(largest, std::fabs(v));
    EXPECT_GE(127.0f * g.scale, largest);
    EXPECT_LT(126.7f * g.scale, largest);
    EXPECT_EQ(round(-2.0f * largest), 1);
    EXPECT_EQ(round(2.0f * largest), 255);
    for (float v : w.span()) EXPECT_LE(std::fabs(v - value_of(g, round(v))), 0.5001f * g.scale);
  }
}

TEST_F(Mlwq, WeightsTooLargeForHalfScalesAreRefused) {
  const size_t cols = 64;
  Matrix w = random_matrix(4, cols, 3);
  w.row(2)[5] = 1e8f;
  const Matrix h = second_moments(cols);
  for (uint32_t bits : {2u, 3u, 4u, 8u}) {
    for (ClipSearch search : {ClipSearch::none, ClipSearch::plain, ClipSearch::weighted}) {
      EXPECT_FALSE(std::isfinite(fit_grid(w.row(2), h.row(0), 64, bits, search).scale)) << bits;
    }
    const auto r =
        quantise_linear(w, h, *factor_inverse(h, *pool), groups_of({{{bits, 64, cols}}}), {}, *pool);
    ASSERT_FALSE(r.ok());
    EXPECT_NE(r.status().message().find("too large for codes"), std::string::npos);
  }
}

TEST_F(Mlwq, CompensationAndDescentLowerTheError) {
  const size_t cols = 192;
  const Matrix w = random_matrix(48, cols, 11), h = second_moments(cols);
  const Factor f = *factor_inverse(h, *pool);
  for (uint32_t bits : {2u, 3u, 4u}) {
    const auto groups = groups_of({{{bits, 64, cols}}});
    GptqOptions plain, compensated, descended;
    plain.compensate = false;
    descended.descents = 3;
    const double a = error(w, *quantise_linear(w, h, f, groups, plain, *pool), h),
                 b = error(w, *quantise_linear(w, h, f, groups, compensated, *pool), h),
                 c = error(w, *quantise_linear(w, h, f, groups, descended, *pool), h);
    EXPECT_LT(b, 0.8 * a) << bits;
    EXPECT_LT(c, b) << bits;
  }
}

TEST_F(Mlwq, CodesGridsAndValuesAgree) {
  const size_t cols = 160;  // the last group is short
  const Matrix w = random_matrix(9, cols, 2), h = second_moments(cols);
  const Factor f = *factor_inverse(h, *pool);
  GptqOptions options;
  options.descents = 2;
  const Scheme scheme{{{8, 64, 64}, {4, 32, 32}, {2, 64, 64}}};
  const auto groups = groups_of(scheme);
  const GptqResult r = *quantise_linear(w, h, f, groups, options, *pool);
  for (size_t row = 0; row < 9; ++row) {
    for (size_t g = 0; g < groups.size(); ++g) {
      const Grid& grid = r.grids[row * groups.size() + g];
      EXPECT_EQ(grid.scale, nearest_half(grid.scale));
      EXPECT_LE(grid.zero_index, 15);
      for (uint32_t c = groups[g].begin; c < groups[g].begin + groups[g].count; ++c) {
        EXPECT_LT(r.codes[row * cols + c], 1u << groups[g].bits);
        EXPECT_EQ(r.values.row(row)[c], value_of(grid, r.codes[row * cols + c]));
      }
    }
  }
}

TEST_F(Mlwq, ThreadsDoNotChangeTheResult) {
  const size_t cols = 128;
  const Matrix w = random_matrix(40, cols, 2), h = second_moments(cols);
  const auto one = std::move(ThreadPool::create(1)).value();
  GptqOptions options;
  options.descents = 1;
  const auto groups = groups_of({{{3, 64, cols}}});
  const GptqResult a = *quantise_linear(w, h, *factor_inverse(h, *one), groups, options, *one),
                   b = *quantise_linear(w, h, *factor_inverse(h, *pool), groups, options, *pool);
  EXPECT_EQ(a.codes, b.codes);
}

TEST_F(Mlwq, RowsAreTheSameAloneAndTogether) {
  const size_t cols = 224;  // sums of 64 columns at a time, and 32 that are left
  const Matrix w = random_matrix(1043, cols, 5),
               h = second_moments(cols);  // tiles of 32 rows, the last of 19
  const Factor f = *factor_inverse(h, *pool);
  GptqOptions options;
  options.descents = 2;
  const auto groups = groups_of({{{8, 64, 64}, {4, 32, 32}, {2, 64, 128}}});
  const GptqResult all = *quantise_linear(w, h, f, groups, options, *pool);
  for (const size_t row : {size_t{0}, size_t{3}, size_t{31}, size_t{517}, size_t{1024}, size_t{1042}}) {
    Matrix one(1, cols);
    std::copy_n(w.row(row), cols, one.row(0));
    const GptqResult r = *quantise_linear(one, h, f, groups, options, *pool);
    for (size_t c = 0; c < cols; ++c) {
      ASSERT_EQ(all.codes[row * cols + c], r.codes[c]) << row << " " << c;
      ASSERT_EQ(all.values.row(row)[c], r.values.row(0)[c]) << row << " " << c;
    }
    ASSERT_EQ(all.errors[row], r.errors[0]) << row;
  }
}

TEST_F(Mlwq, ASplitOfOneClassIsPlainGptqBitForBit) {
  const size_t cols = 256;
  const Matrix w = random_matrix(16, cols, 21), h = second_moments(cols);
  const Factor f = *factor_inverse(h, *pool);
  const GptqResult whole = *quantise_linear(w, h, f, groups_of({{{3, 64, 256}}}), {}, *pool),
                   split = *quantise_linear(w, h, f, groups_of({{{3, 64, 64}, {3, 64, 128}, {3, 64, 64}}}),
                                            {}, *pool);
  EXPECT_EQ(whole.codes, split.codes);
}

TEST(Scheme, CandidatesKeepToTheFormat) {
  for (uint32_t cols : {32u, 64u, 96u, 256u, 576u, 640u, 896u, 1792u, 2048u}) {
    const auto schemes = candidate_schemes(cols, {});
    ASSERT_FALSE(schemes.empty());
    for (const Scheme& s : schemes) {
      uint32_t sum = 0;
      for (const SlabSpec& x : s.slabs) {
        EXPECT_EQ(sum % x.group, 0u) << cols << " " << s.text();
        sum += x.count;
      }
      EXPECT_EQ(sum, cols) << s.text();
      for (size_t i = 1; i < s.slabs.size(); ++i) EXPECT_LT(s.slabs[i].bits, s.slabs[i - 1].bits);
    }
  }
}

TEST(Scheme, BytesAreCodesScalesAndZeros) {
  // 64 panels of 16 rows: 3 bits, an f16 scale and a 4-bit zero a group
  EXPECT_EQ(bytes_of({{{3, 64, 256}}}, 1024, format::Layout::panel), 1024u * 256 * 3 / 8 + 1024 * 4 * 5 / 2);
  EXPECT_EQ(bytes_of({{{8, 64, 256}}}, 1024, format::Layout::panel), 1024u * 256 + 1024 * 4 * 2);
}

TEST(Allocation, SpendsTheBudgetWhereItHelpsMost) {
  const auto candidate = [](uint64_t bytes, double loss) { return Candidate{{}, bytes, loss}; };
  const std::vector<std::vector<Candidate>> linears = {
      {candidate(10, 8.0), candidate(20, 1.0), candidate(30, 0.9)},
      {candidate(10, 2.0), candidate(20, 1.5), candidate(40, 0.1)},
  };
  EXPECT_EQ(*allocate(linears, 20), (std::vector<size_t>{0, 0}));
  EXPECT_EQ(*allocate(linears, 35), (std::vector<size_t>{1, 0}));
  EXPECT_EQ(*allocate(linears, 40), (std::vector<size_t>{1, 1}));
  EXPECT_EQ(*allocate(linears, 60), (std::vector<size_t>{1, 2}));
  EXPECT_EQ(*allocate(linears, 1000), (std::vector<size_t>{2, 2}));
  const auto none = allocate(linears, 19);
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.status().code(), Code::invalid_argument);
}

TEST(Allocation, EvenlyIsTheSameWidthsInTheNearestShares) {
  const auto candidate = [](std::vector<SlabSpec> slabs, uint64_t bytes, double loss) {
    return Candidate{{std::move(slabs)}, bytes, loss};
  };
  const std::vector<std::vector<Candidate>> linears = {
      {candidate({{2, 64, 256}}, 10, 9.0), candidate({{3, 64, 64}, {2, 64, 192}}, 12, 6.0),
       candidate({{3, 64, 128}, {2, 64, 128}}, 14, 4.0), candidate({{3, 64, 256}}, 20, 1.0)},
      {candidate({{3, 64, 192}}, 20, 1.0), candidate({{3, 64, 64}, {2, 64, 128}}, 13, 3.0),
       candidate({{2, 64, 192}}, 10, 7.0)},
  };
  EXPECT_EQ(*allocate_evenly(linears, 21), (std::vector<size_t>{0, 2}));
  EXPECT_EQ(*allocate_evenly(linears, 26), (std::vector<size_t>{1, 1}));  // a quarter is nearest to a third
  EXPECT_EQ(*allocate_evenly(linears, 39), (std::vector<size_t>{2, 1}));
  EXPECT_EQ(*allocate_evenly(linears, 40), (std::vector<size_t>{3, 0}));
  EXPECT_FALSE(allocate_evenly(linears, 19).ok());
}

TEST(Orders, PermutationsGoThereAndBack) {
  const Matrix w = random_matrix(5, 64, 9);
  std::vector<double> salience(64);
  for (size_t c = 0; c < 64; ++c) salience[c] = static_cast<double>((c * 37) % 64);
  const Order order = descending(salience);
  Matrix back(5, 64);
  restore_columns(permuted_columns(w, order), order, back);
  for (size_t i = 0; i < w.size(); ++i) EXPECT_EQ(back.data()[i], w.data()[i]);
}

TEST_F(Mlwq, WhatIsStoredIsWhatWasQuantised) {
  const size_t cols = 256, rows = 20;
  const Matrix w = random_matrix(rows, cols, 31), h = second_moments(cols);
  std::vector<double> salience(cols);
  for (size_t c = 0; c < cols; ++c) salience[c] = static_cast<double>((c * 151) % 256);
  Order stored = natural_order(cols), row_order = natural_order(rows);
  std::mt19937 random(4);
  std::shuffle(stored.begin(), stored.end(), random);
  std::shuffle(row_order.begin(), row_order.end(), random);
  const Scheme scheme{{{4, 64, 64}, {3, 64, 128}, {2, 64, 64}}};
  const Sequence seq = sequence_of(scheme, stored, salience);
  Matrix hp(cols, cols);
  for (size_t i = 0; i < cols; ++i) {
    for (size_t j = 0; j < cols; ++j) hp.row(i)[j] = h.row(seq.channels[i])[seq.channels[j]];
  }
  const GptqResult r = *quantise_linear(permuted_columns(w, seq.channels), hp, *factor_inverse(hp, *pool),
                                        seq.groups, {}, *pool);
  Matrix values(rows, cols);
  restore_columns(r.values, seq.channels, values);
  const QuantisedLinear l = store("x", r, scheme, seq, row_order, {});
  ASSERT_EQ(l.slabs.size(), 3u);
  for (size_t row = 0; row < rows; ++row) {
    for (const QuantisedSlab& s : l.slabs) {
      for (uint32_t c = 0; c < s.count; ++c) {
        const size_t g = row * s.groups() + c / s.group;
        const uint32_t bits = format::bits_of(s.code);
        const float v = s.scales[g] * (static_cast<float>(s.codes[row * s.count + c]) -
                                       s.zeros[g] * zero_step(static_cast<int>(bits)));
        EXPECT_EQ(v, values.row(row_order[row])[stored[s.first + c]]);
      }
    }
  }
}

}  // namespace
}  // namespace minnow::testing
