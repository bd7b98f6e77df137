// Query-aware vector quantisation of attention keys: centroids that keep q . k, not k.
//
// The error of a key k (a row) under a centroid c, (q (k - c)^T)^2 averaged over queries, is
// (k - c) H (k - c)^T with H = E[q^T q]. With H = L L^T it is |k L - c L|^2, so that k-means of the rows k L
// finds the centroids, and what they are multiplied with is c L.
//
// Source: He and others, "A2ATS", Findings of ACL 2025 (arXiv 2502.12665), section 3.2. Ours: the ridge, the
// seeding from a sample and the rescue of empty clusters. Everything runs on the calling thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/status.h"
#include "compress/mlwq/matrix.h"

namespace minnow::compress {

/// Lower Cholesky factor L (dim, dim), row-major, zero above the diagonal, of (1 - ridge) H / m + ridge I:
/// the metric in which centroids are sought. H (dim, dim), row-major, is the sum of q^T q over the far
/// queries of a group of heads, of which the lower triangle is read; m is its mean diagonal, so that losses
/// of different heads compare, and H = I gives exactly I. The ridge (1e-4, tenfold up to 0.1 where that has
/// no factor) keeps directions that few queries took. H of zeros only: I, as no query tells directions apart.
/// Errors: sizes that do not match, entries that are not finite, not a second moment.
Result<std::vector<double>> whitening(const std::vector<double>& second_moment, size_t dim);

/// k L for rows of keys (n, dim).
Matrix whiten(const Matrix& keys, const std::vector<double>& lower);

struct ClusterOptions {
  size_t centroids = 1024;
  uint32_t iterations = 30;  ///< of Lloyd's, at most; 0: the seeds themselves
  double tolerance = 1e-4;   ///< stops when the loss improves by no more than this share of itself
  size_t seeding = 16384;    ///< points, drawn without replacement, among which seeds are sought
  uint64_t seed = 1;
};

struct Clusters {
  Matrix centres;                    ///< (centroids, dim)
  std::vector<uint32_t> assignment;  ///< of every point: its nearest centre, the first of equals
  double loss = 0.0;                 ///< mean squared distance of points to their centres
  uint32_t iterations = 0;           ///< that lowered the loss or left it alone
};

/// k-means++ and Lloyd's iteration on the rows of points. The loss never rises from one iteration to the
/// next. A cluster that runs empty is re-seeded from the point farthest from its centre, so that none is
/// empty while there are enough distinct points; the centres left over otherwise repeat others and own
/// nothing. With no more points than centroids they are the points, point i owned by centre i, and then the
/// points over again. The same input and options give the same result on the same machine. Errors: no points,
/// no centroids, entries that are not finite or too large to square.
Result<Clusters> cluster(const Matrix& points, const ClusterOptions& options);

}  // namespace minnow::compress
