#include "compress/a2ats/codebook_math.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "compress/mlwq/factor.h"
#include "sampling/sampler.h"

namespace minnow::compress {
namespace {

/// GCC keeps vectors in registers where it leaves an array of numbers in memory.
typedef float Sixteen __attribute__((vector_size(64)));
typedef int32_t Indices __attribute__((vector_size(64)));
constexpr size_t kLanes = 16;

/// In line, so that it is compiled for the instruction set of its caller.
__attribute__((always_inline)) inline float squared_distance(const float* x, const float* y, size_t n) {
  Sixteen sums = {};
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    Sixteen a, b;
    std::memcpy(&a, x + i, sizeof a);
    std::memcpy(&b, y + i, sizeof b);
    a -= b;
    sums += a * a;
  }
  float lanes[kLanes];
  std::memcpy(lanes, &sums, sizeof sums);
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  }
  float sum = lanes[0];
  for (; i < n; ++i) sum += (x[i] - y[i]) * (x[i] - y[i]);
  return sum;
}

/// distance[i] = |x_i - centre of its owner|^2, by subtraction: unlike the products that find the owner it
/// loses nothing to cancellation, and is zero for equal rows only.
MINNOW_CLONES void measure(const float* x, size_t rows, size_t dim, const float* centres,
                           const uint32_t* owner, float* distance) {
  for (size_t i = 0; i < rows; ++i)
    distance[i] = squared_distance(x + i * dim, centres + owner[i] * dim, dim);
}

/// Points that lie nearer to `centre` than to their owner become `label`'s.
MINNOW_CLONES void attract(const float* x, size_t rows, size_t dim, const float* centre, uint32_t label,
                           float* distance, uint32_t* owner) {
  for (size_t i = 0; i < rows; ++i) {
    const float d = squared_distance(x + i * dim, centre, dim);
    if (d < distance[i]) distance[i] = d, owner[i] = label;
  }
}

/// Of every row of scores (rows, width) the largest score - half and where it is, if above `best`; the first
/// of equals. `first` is the label of column 0.
MINNOW_CLONES void take_best(const float* scores, size_t rows, size_t width, const float* half,
                             uint32_t first, float* best, uint32_t* owner) {
  Indices start;
  for (size_t l = 0; l < kLanes; ++l) start[l] = static_cast<int32_t>(first + l);
  for (size_t r = 0; r < rows; ++r) {
    const float* s = scores + r * width;
    Sixteen top = Sixteen{} - std::numeric_limits<float>::infinity();
    Indices at = start, here = start;
    size_t j = 0;
    for (; j + kLanes <= width; j += kLanes) {
      Sixteen v, h;
      std::memcpy(&v, s + j, sizeof v);
      std::memcpy(&h, half + j, sizeof h);
      v -= h;
      const Indices above = v > top;
      top = above ? v : top;
      at = above ? here : at;
      here += static_cast<int32_t>(kLanes);
    }
    float most = best[r];
    uint32_t label = owner[r];
    for (size_t l = 0; l < kLanes && j > 0; ++l) {
      const auto candidate = static_cast<uint32_t>(at[l]);
      if (top[l] > most || (top[l] == most && candidate < label)) most = top[l], label = candidate;
    }
    for (; j < width; ++j) {
      if (s[j] - half[j] > most) most = s[j] - half[j], label = first + static_cast<uint32_t>(j);
    }
    best[r] = most, owner[r] = label;
  }
}

/// The nearest centre of every point: where x . c - |c|^2 / 2 is largest.
void find_owners(const Matrix& x, const Matrix& centres, std::vector<uint32_t>& owner) {
  // The scores of a tile stay in the second-level cache; many rows, as every tile packs its centres anew.
  constexpr size_t kRows = 512, kCentres = 256;
  const size_t dim = x.cols();
  std::vector<float> half(centres.rows()), scores(kRows * kCentres + kLanes), best(kRows);
  for (size_t c = 0; c < centres.rows(); ++c)
    half[c] = static_cast<float>(0.5 * dot(centres.row(c), centres.row(c), dim));
  for (size_t r0 = 0; r0 < x.rows(); r0 += kRows) {
    const size_t rows = std::min(kRows, x.rows() - r0);
    std::fill_n(best.begin(), rows, -std::numeric_limits<float>::infinity());
    std::fill_n(owner.begin() + static_cast<long>(r0), rows, 0u);
    for (size_t c0 = 0; c0 < centres.rows(); c0 += kCentres) {
      const size_t width = std::min(kCentres, centres.rows() - c0);
      multiply_nt({x.row(r0), rows, dim, dim}, {centres.row(c0), width, dim, dim}, scores.data(), width);
      take_best(scores.data(), rows, width, half.data() + c0, static_cast<uint32_t>(c0), best.data(),
                owner.data() + r0);
    }
  }
}

/// One state of Lloyd's iteration; owners and distances fit the centres.
struct State {
  Matrix centres;
  std::vector<uint32_t> owner;
  std::vector<float> distance;
  double loss = 0.0;
};

/// Centres that own nothing go to the point that is worst off, one at a time, as each may take in more points
/// than one: copies of a point would otherwise use up several centres. Ends, as a centre that has come to lie
/// on a point keeps it.
void fill_empty(const Matrix& x, State& s) {
  std::vector<uint32_t> counts;
  for (;;) {
    counts.assign(s.centres.rows(), 0);
    for (const uint32_t c : s.owner) ++counts[c];
    const auto empty = std::find(counts.begin(), counts.end(), 0u);
    if (empty == counts.end()) return;
    const auto farthest = std::max_element(s.distance.begin(), s.distance.end());
    if (!(*farthest > 0.0f)) return;  // every distinct point has a centre
    const auto label = static_cast<uint32_t>(empty - counts.begin());
    std::copy_n(x.row(static_cast<size_t>(farthest - s.distance.begin())), x.cols(), s.centres.row(label));
    attract(x.data(), x.rows(), x.cols(), s.centres.row(label), label, s.distance.data(), s.owner.data());
  }
}

/// Owners, distances and loss of new centres.
void settle(const Matrix& x, State& s) {
  s.owner.resize(x.rows());
  s.distance.resize(x.rows());
  find_owners(x, s.centres, s.owner);
  measure(x.data(), x.rows(), x.cols(), s.centres.data(), s.owner.data(), s.distance.data());
  fill_empty(x, s);
  s.loss = std::accumulate(s.distance.begin(), s.distance.end(), 0.0) / static_cast<double>(x.rows());
}

/// The means of what the centres own; a centre without points stays where it is.
void move_to_means(const Matrix& x, const State& from, Matrix& centres) {
  const size_t dim = x.cols();
  std::vector<double> sums(from.centres.size(), 0.0);
  std::vector<uint32_t> counts(from.centres.rows(), 0);
  for (size_t i = 0; i < x.rows(); ++i) {
    const float* row = x.row(i);
    double* sum = sums.data() + from.owner[i] * dim;
    for (size_t j = 0; j < dim; ++j) sum[j] += row[j];
    ++counts[from.owner[i]];
  }
  centres = from.centres;
  for (size_t c = 0; c < centres.rows(); ++c) {
    for (size_t j = 0; j < dim && counts[c] > 0; ++j)
      centres.row(c)[j] = static_cast<float>(sums[c * dim + j] / counts[c]);
  }
}

/// `count` rows at random, in their order.
Matrix sample_rows(const Matrix& x, size_t count, sampling::Rng& random) {
  Matrix out;
  out.shape(count, x.cols());
  for (size_t i = 0, taken = 0; taken < count; ++i) {
    const auto left = static_cast<double>(x.rows() - i), wanted = static_cast<double>(count - taken);
    if (random.uniform() * left < wanted) std::copy_n(x.row(i), x.cols(), out.row(taken++));
  }
  return out;
}

/// k-means++: every centre is a point, taken with a chance in proportion to its squared distance from the
/// nearest one so far.
Matrix seed_centres(const Matrix& x, const ClusterOptions& options) {
  sampling::Rng random(options.seed);
  const size_t wanted = std::min(x.rows(), std::max(options.seeding, options.centroids));
  const Matrix sample = sample_rows(x, wanted, random);
  std::vector<float> distance(wanted, std::numeric_limits<float>::max());
  std::vector<uint32_t> owner(wanted);
  Matrix centres(options.centroids, x.cols());
  auto pick = static_cast<size_t>(random.uniform() * static_cast<double>(wanted));
  for (size_t c = 0; c < centres.rows(); ++c) {
    std::copy_n(sample.row(pick), x.cols(), centres.row(c));
    attract(sample.data(), wanted, x.cols(), centres.row(c), static_cast<uint32_t>(c), distance.data(),
            owner.data());
    // Sums round, so what is drawn may lie a little past the end: then it is the last that has a chance.
    double left = random.uniform() * std::accumulate(distance.begin(), distance.end(), 0.0);
    for (size_t i = 0; i < wanted; ++i) {
      if (!(distance[i] > 0.0f)) continue;
      pick = i;
      if ((left -= distance[i]) < 0.0) break;
    }
  }
  return centres;
}

/// The points with their mean at 0. Keys share a large mean, and x . c - |c|^2 / 2 of such vectors would be a
/// small difference of large floats.
Result<Matrix> centred(const Matrix& points, std::vector<float>& mean) {
  const size_t dim = points.cols();
  std::vector<double> sums(dim, 0.0);
  for (size_t i = 0; i < points.rows(); ++i) {
    const float* row = points.row(i);
    for (size_t j = 0; j < dim; ++j) sums[j] += row[j];
  }
  mean.resize(dim);
  for (size_t j = 0; j < dim; ++j) mean[j] = static_cast<float>(sums[j] / static_cast<double>(points.rows()));
  Matrix x;
  x.shape(points.rows(), dim);
  for (size_t i = 0; i < x.rows(); ++i) {
    for (size_t j = 0; j < dim; ++j) x.row(i)[j] = points.row(i)[j] - mean[j];
    // A distance is at most four times the largest of these.
    if (!(dot(x.row(i), x.row(i), dim) < std::numeric_limits<float>::max() / 8.0)) {
      return fail(Code::corrupt, "point ", i, " of ", x.rows(),
                  " to be clustered is not finite, or too large to square");
    }
  }
  return x;
}

}  // namespace

Result<std::vector<double>> whitening(const std::vector<double>& second_moment, size_t dim) {
  if (dim == 0 || second_moment.size() != dim * dim) {
    return fail(Code::invalid_argument, "a second moment of ", dim, " dimensions has ", second_moment.size(),
                " entries");
  }
  double mean = 0.0;
  bool zeros = true;
  for (const double h : second_moment) {
    if (!std::isfinite(h)) {
      return fail(Code::corrupt,
                  "the second moment of the queries is not finite; the model overflows on this text");
    }
    zeros = zeros && h == 0.0;
  }
  for (size_t i = 0; i < dim; ++i) mean += second_moment[i * dim + i] / static_cast<double>(dim);
  if (!zeros && !(mean > 0.0)) return fail(Code::corrupt, "the second moment of the queries has no diagonal");
  MINNOW_ASSIGN(const auto pool, ThreadPool::create(1));
  std::vector<double> lower(dim * dim);
  for (double ridge = zeros ? 1.0 : 1e-4;; ridge *= 10.0) {
    const double scale = zeros ? 0.0 : (1.0 - ridge) / mean;
    for (size_t i = 0; i < lower.size(); ++i) lower[i] = scale * second_moment[i];
    for (size_t i = 0; i < dim; ++i) lower[i * dim + i] += ridge;
    if (cholesky(lower, dim, *pool)) break;
    if (ridge > 0.05) {
      return fail(Code::corrupt, "the second moment of ", dim,
                  " dimensions of queries has no Cholesky factor even with a ridge");
    }
  }
  for (size_t i = 0; i < dim; ++i) {
    for (size_t j = i + 1; j < dim; ++j) lower[i * dim + j] = 0.0;
  }
  return lower;
}

Matrix whiten(const Matrix& keys, const std::vector<double>& lower) {
  const size_t dim = keys.cols();
  Matrix l(dim, dim), out;
  for (size_t i = 0; i < l.size(); ++i) l.data()[i] = static_cast<float>(lower[i]);
  out.shape(keys.rows(), dim);
  multiply_nn(rows_of(keys), rows_of(l), out.data(), dim);
  return out;
}

Result<Clusters> cluster(const Matrix& points, const ClusterOptions& options) {
  if (points.empty() || options.centroids == 0) {
    return fail(Code::invalid_argument, "cannot make ", options.centroids, " clusters of ", points.rows(),
                " points of ", points.cols(), " dimensions");
  }
  const size_t count = points.rows(), dim = points.cols();
  std::vector<float> mean;
  MINNOW_ASSIGN(const Matrix x, centred(points, mean));
  Clusters out;
  if (count <= options.centroids) {
    out.centres.shape(options.centroids, dim);
    for (size_t c = 0; c < options.centroids; ++c)
      std::copy_n(points.row(c % count), dim, out.centres.row(c));
    out.assignment.resize(count);
    std::iota(out.assignment.begin(), out.assignment.end(), 0u);
    return out;
  }
  State now, next;
  now.centres = seed_centres(x, options);
  settle(x, now);
  while (out.iterations < options.iterations) {
    move_to_means(x, now, next.centres);
    settle(x, next);
    const double gain = now.loss - next.loss;
    if (gain < 0.0) break;  // no more than rounding moves it: what was before is as good, and lower
    std::swap(now, next);
    ++out.iterations;
    if (gain <= options.tolerance * (now.loss + gain)) break;
  }
  out.centres = std::move(now.centres);
  for (size_t c = 0; c < options.centroids; ++c) {
    for (size_t j = 0; j < dim; ++j) out.centres.row(c)[j] += mean[j];
  }
  out.assignment = std::move(now.owner);
  out.loss = now.loss;
  return out;
}

}  // namespace minnow::compress
