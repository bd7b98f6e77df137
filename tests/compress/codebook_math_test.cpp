// Centroids that keep q . k: the metric that queries give, clusters in it, and what they save over clusters
// of the keys as they are.
#include "compress/a2ats/codebook_math.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace minnow::testing {
namespace {

using namespace compress;

Matrix normal(size_t rows, size_t cols, uint32_t seed, double mean = 0.0) {
  std::mt19937 random(seed);
  std::normal_distribution<double> number(mean, 1.0);
  Matrix m(rows, cols);
  for (float& v : m.span()) v = static_cast<float>(number(random));
  return m;
}

/// Queries that take few directions, none of them an axis: the first `strong` of `dim` numbers are ten times
/// the others, and pairs of dimensions far apart are then turned into each other.
Matrix lopsided(size_t rows, size_t dim, size_t strong, uint32_t seed) {
  Matrix q = normal(rows, dim, seed);
  for (size_t i = 0; i < rows; ++i) {
    float* row = q.row(i);
    for (size_t j = 0; j < strong; ++j) row[j] *= 10.0f;
    for (size_t j = 0; j + dim / 2 < dim; ++j) {
      const float a = row[j], b = row[j + dim / 2];
      row[j] = 0.6f * a - 0.8f * b, row[j + dim / 2] = 0.8f * a + 0.6f * b;
    }
  }
  return q;
}

std::vector<double> moment(const Matrix& q) {
  const size_t dim = q.cols();
  std::vector<double> h(dim * dim, 0.0);
  for (size_t i = 0; i < q.rows(); ++i) {
    for (size_t a = 0; a < dim; ++a) {
      for (size_t b = 0; b < dim; ++b) h[a * dim + b] += static_cast<double>(q.row(i)[a]) * q.row(i)[b];
    }
  }
  return h;
}

std::vector<double> times_transpose(const std::vector<double>& l, size_t dim) {
  std::vector<double> out(dim * dim, 0.0);
  for (size_t a = 0; a < dim; ++a) {
    for (size_t b = 0; b < dim; ++b) {
      for (size_t k = 0; k < dim; ++k) out[a * dim + b] += l[a * dim + k] * l[b * dim + k];
    }
  }
  return out;
}

std::vector<double> identity(size_t dim, double scale = 1.0) {
  std::vector<double> h(dim * dim, 0.0);
  for (size_t i = 0; i < dim; ++i) h[i * dim + i] = scale;
  return h;
}

/// c with c L = z, row by row.
std::vector<std::vector<double>> unwhitened(const Matrix& z, const std::vector<double>& lower) {
  const size_t dim = z.cols();
  std::vector<std::vector<double>> out;
  for (size_t i = 0; i < z.rows(); ++i) {
    std::vector<double> c(z.row(i), z.row(i) + dim);
    for (size_t j = dim; j-- > 0;) {
      for (size_t k = j + 1; k < dim; ++k) c[j] -= c[k] * lower[k * dim + j];
      c[j] /= lower[j * dim + j];
    }
    out.push_back(c);
  }
  return out;
}

/// (k - c) m (k - c)^T
double error_in(const std::vector<double>& m, const float* k, const std::vector<double>& c) {
  const size_t dim = c.size();
  double sum = 0.0;
  for (size_t a = 0; a < dim; ++a) {
    for (size_t b = 0; b < dim; ++b) sum += (k[a] - c[a]) * m[a * dim + b] * (k[b] - c[b]);
  }
  return sum;
}

double squared(const float* x, const float* y, size_t dim) {
  double sum = 0.0;
  for (size_t j = 0; j < dim; ++j) sum += (double{x[j]} - y[j]) * (double{x[j]} - y[j]);
  return sum;
}

size_t nearest(const float* x, const Matrix& centres) {
  size_t best = 0;
  for (size_t c = 1; c < centres.rows(); ++c) {
    if (squared(x, centres.row(c), centres.cols()) < squared(x, centres.row(best), centres.cols())) best = c;
  }
  return best;
}

ClusterOptions small(size_t centroids, uint32_t iterations = 30) {
  ClusterOptions o;
  o.centroids = centroids;
  o.iterations = iterations;
  o.seeding = 400;
  return o;
}

std::vector<size_t> sizes(const Clusters& c) {
  std::vector<size_t> counts(c.centres.rows(), 0);
  for (const uint32_t a : c.assignment) ++counts.at(a);
  return counts;
}

bool same(const Matrix& a, const Matrix& b) {
  return std::ranges::equal(a.span(), b.span());
}

TEST(KeyWhitening, FactorIsThatOfTheSecondMoment) {
  for (const size_t dim : {1u, 5u, 16u, 80u}) {
    const std::vector<double> h = moment(lopsided(4 * dim, dim, dim / 4, 3));
    const auto lower = whitening(h, dim);
    ASSERT_TRUE(lower.ok()) << lower.status().message();
    double trace = 0.0;
    for (size_t i = 0; i < dim; ++i) trace += h[i * dim + i];
    const double scale = static_cast<double>(dim) / trace;
    const std::vector<double> product = times_transpose(*lower, dim);
    for (size_t i = 0; i < dim; ++i) {
      for (size_t j = 0; j < dim; ++j) {
        const double wanted = (1.0 - 1e-4) * scale * h[i * dim + j] + (i == j ? 1e-4 : 0.0);
        EXPECT_NEAR(product[i * dim + j], wanted, 1e-9) << dim << ": " << i << ", " << j;
        if (j > i) {
          EXPECT_EQ((*lower)[i * dim + j], 0.0);
        }
      }
    }
  }
}

TEST(KeyWhitening, QueriesThatTakeFewDirectionsOrNoneStillGiveAMetric) {
  constexpr size_t kDim = 12;
  const auto few = whitening(moment(normal(3, kDim, 4)), kDim);
  ASSERT_TRUE(few.ok()) << few.status().message();
  for (size_t i = 0; i < kDim; ++i) EXPECT_GT((*few)[i * kDim + i], 0.0);
  // A sum in floats of queries that are alike may come out a little indefinite: more ridge makes up for it.
  std::vector<double> rounded(kDim * kDim, 1.0);
  for (size_t i = 0; i < kDim; ++i) rounded[i * kDim + i] = i % 2 == 0 ? 1.002 : 0.998;
  const auto more = whitening(rounded, kDim);
  ASSERT_TRUE(more.ok()) << more.status().message();
  EXPECT_NEAR(times_transpose(*more, kDim)[1], 0.99, 1e-9);
  EXPECT_EQ(*whitening(std::vector<double>(kDim * kDim, 0.0), kDim), identity(kDim));
  EXPECT_EQ(*whitening(identity(kDim), kDim), identity(kDim));
}

TEST(KeyWhitening, RefusesWhatIsNoSecondMoment) {
  std::vector<double> h = identity(4);
  EXPECT_EQ(whitening(h, 5).status().code(), Code::invalid_argument);
  EXPECT_EQ(whitening({}, 0).status().code(), Code::invalid_argument);
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    for (const size_t at : {0u, 2u, 8u}) {
      h = identity(4);
      h[at] = bad;
      EXPECT_EQ(whitening(h, 4).status().code(), Code::corrupt);
    }
  }
  EXPECT_EQ(whitening(identity(4, -1.0), 4).status().code(), Code::corrupt);
  h = identity(4);
  h[4] = h[1] = 5.0;
  EXPECT_EQ(whitening(h, 4).status().code(), Code::corrupt);
}

TEST(KeyClusters, AreThoseOfTheKeysThemselvesWhereQueriesFavourNoDirection) {
  const Matrix keys = normal(1500, 24, 5, 2.0);
  const auto lower = whitening(identity(24, 7.0), 24);
  const auto plain = cluster(keys, small(40)), aware = cluster(whiten(keys, *lower), small(40));
  ASSERT_TRUE(plain.ok() && aware.ok());
  EXPECT_EQ(aware->assignment, plain->assignment);
}

// 3 of 16 directions carry nearly all of q . k: 64 centroids spread over 16 dimensions keep about a third of
// the variance of each, spread over 3 they keep more than nine tenths.
TEST(KeyClusters, KeepScoresOfHeldOutKeysBetterThanClustersOfTheKeys) {
  constexpr size_t kDim = 16;
  const Matrix keys = normal(3000, kDim, 6, 1.0), held_out = normal(800, kDim, 7, 1.0);
  const std::vector<double> seen = moment(lopsided(2000, kDim, 3, 8));
  const std::vector<double> unseen = moment(lopsided(500, kDim, 3, 9));
  const auto lower = whitening(seen, kDim);
  ASSERT_TRUE(lower.ok());
  const auto loss = [&](const std::vector<double>& l) {
    const auto found = cluster(whiten(keys, l), small(64));
    EXPECT_TRUE(found.ok());
    const std::vector<std::vector<double>> centres = unwhitened(found->centres, l);
    const Matrix z = whiten(held_out, l);
    double sum = 0.0;
    for (size_t i = 0; i < z.rows(); ++i)
      sum += error_in(unseen, held_out.row(i), centres[nearest(z.row(i), found->centres)]);
    return sum;
  };
  const double aware = loss(*lower), plain = loss(identity(kDim));
  EXPECT_LT(aware, plain / 4.0) << plain / aware;
}

TEST(KeyClusters, OwnersAreTheNearestInTheMetricOfTheQueries) {
  constexpr size_t kDim = 16;
  for (const size_t centroids : {37u, 300u}) {  // more than one tile of centres, and no multiple of it
    const Matrix keys = normal(700, kDim, 10, 3.0);
    const auto lower = whitening(moment(lopsided(900, kDim, 3, 11)), kDim);
    const std::vector<double> metric = times_transpose(*lower, kDim);
    const auto found = cluster(whiten(keys, *lower), small(centroids));
    ASSERT_TRUE(found.ok());
    const std::vector<std::vector<double>> centres = unwhitened(found->centres, *lower);
    double sum = 0.0;
    for (size_t i = 0; i < keys.rows(); ++i) {
      std::vector<double> errors;
      for (const std::vector<double>& c : centres) errors.push_back(error_in(metric, keys.row(i), c));
      const double own = errors[found->assignment[i]];
      const auto least = std::ranges::min_element(errors);
      // Two centres may be as near as floats can tell.
      if (own > *least + 1e-5 * (1.0 + *least)) {
        EXPECT_EQ(found->assignment[i], static_cast<size_t>(least - errors.begin())) << i;
      }
      sum += own;
    }
    EXPECT_NEAR(found->loss, sum / static_cast<double>(keys.rows()), 1e-4 * found->loss);
  }
}

TEST(KeyClusters, CentresAreTheMeansOfWhatTheyOwn) {
  const Matrix points = normal(900, 7, 12, 50.0);  // dimensions that fill no vector, far from 0
  for (const size_t centroids : {20u, 300u}) {
    ClusterOptions o = small(centroids, 500);
    o.tolerance = 0.0;
    const auto found = cluster(points, o);
    ASSERT_TRUE(found.ok());
    EXPECT_LT(found->iterations, 500u);
    std::vector<double> sums(centroids * 7, 0.0);
    for (size_t i = 0; i < points.rows(); ++i) {
      for (size_t j = 0; j < 7; ++j) sums[found->assignment[i] * 7 + j] += points.row(i)[j];
      const double own = squared(points.row(i), found->centres.row(found->assignment[i]), 7);
      const size_t best = nearest(points.row(i), found->centres);
      EXPECT_LE(own, squared(points.row(i), found->centres.row(best), 7) * (1.0 + 1e-4) + 1e-6);
    }
    const std::vector<size_t> counts = sizes(*found);
    for (size_t c = 0; c < centroids; ++c) {
      for (size_t j = 0; j < 7; ++j)
        EXPECT_NEAR(found->centres.row(c)[j], sums[c * 7 + j] / static_cast<double>(counts[c]), 1e-4);
    }
  }
}

TEST(KeyClusters, LossNeverRisesAndTheSameInputGivesTheSame) {
  const Matrix points = normal(1200, 16, 13);
  double before = std::numeric_limits<double>::infinity();
  for (uint32_t iterations = 0; iterations < 25; ++iterations) {
    ClusterOptions o = small(50, iterations);
    o.tolerance = 0.0;
    const auto found = cluster(points, o), again = cluster(points, o);
    ASSERT_TRUE(found.ok() && again.ok());
    EXPECT_LE(found->iterations, iterations);
    EXPECT_LE(found->loss, before) << iterations;
    before = found->loss;
    EXPECT_TRUE(same(found->centres, again->centres));
    EXPECT_EQ(found->assignment, again->assignment);
    EXPECT_EQ(found->loss, again->loss);
  }
  ClusterOptions other = small(50);
  other.seed = 2;
  EXPECT_FALSE(same(cluster(points, other)->centres, cluster(points, small(50))->centres));
  // A loose tolerance stops sooner.
  ClusterOptions loose = small(50);
  loose.tolerance = 0.1;
  EXPECT_LT(cluster(points, loose)->iterations, cluster(points, small(50))->iterations);
}

TEST(KeyClusters, NoneIsEmptyWhereMostPointsAreCopies) {
  // 90 of every 100 points are one and the same, the rest few values of their own: seeds drawn from a small
  // sample miss most of those.
  const Matrix values = normal(60, 8, 14, 4.0);
  Matrix points(6000, 8);
  for (size_t i = 0; i < points.rows(); ++i)
    std::copy_n(values.row(i % 100 < 90 ? 0 : (i / 100 + i) % 60), 8, points.row(i));
  for (const size_t centroids : {30u, 59u, 60u}) {
    for (const uint32_t iterations : {0u, 1u, 20u}) {
      ClusterOptions o = small(centroids, iterations);
      o.seeding = 64;
      const auto found = cluster(points, o);
      ASSERT_TRUE(found.ok());
      EXPECT_EQ(std::ranges::count(sizes(*found), size_t{0}), 0) << centroids << ", " << iterations;
      if (centroids == 60) {
        EXPECT_LT(found->loss, 1e-10);
      }
    }
  }
  // Fewer distinct points than centroids: each has its centre, and the rest own nothing.
  const auto spare = cluster(points, small(100));
  ASSERT_TRUE(spare.ok());
  EXPECT_LT(spare->loss, 1e-10);
  EXPECT_EQ(std::ranges::count(sizes(*spare), size_t{0}), 40);
  for (size_t i = 0; i < points.rows(); i += 7)
    ASSERT_EQ(spare->assignment[i], nearest(points.row(i), spare->centres));
}

TEST(KeyClusters, OfFewPointsAreThePoints) {
  const Matrix points = normal(5, 6, 15);
  for (const size_t centroids : {5u, 13u}) {
    const auto found = cluster(points, small(centroids));
    ASSERT_TRUE(found.ok());
    ASSERT_EQ(found->centres.rows(), centroids);
    EXPECT_EQ(found->assignment, (std::vector<uint32_t>{0, 1, 2, 3, 4}));
    EXPECT_EQ(found->loss, 0.0);
    for (size_t c = 0; c < centroids; ++c)
      EXPECT_TRUE(std::equal(points.row(c % 5), points.row(c % 5) + 6, found->centres.row(c)));
  }
  const auto one = cluster(points, small(1));
  ASSERT_TRUE(one.ok());
  EXPECT_EQ(one->assignment, std::vector<uint32_t>(5, 0u));
}

TEST(KeyClusters, RefuseNothingAndWhatIsNoNumber) {
  EXPECT_EQ(cluster(Matrix(), small(4)).status().code(), Code::invalid_argument);
  EXPECT_EQ(cluster(normal(9, 2, 1), small(0)).status().code(), Code::invalid_argument);
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity(), 3e30f}) {
    for (const size_t rows : {3u, 40u}) {
      Matrix points = normal(rows, 18, 16);
      points.row(2)[17] = bad;
      EXPECT_EQ(cluster(points, small(4)).status().code(), Code::corrupt);
    }
  }
}

}  // namespace
}  // namespace minnow::testing
