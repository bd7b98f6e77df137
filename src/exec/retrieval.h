// Attention over the few keys of a long context that matter (A2ATS, arXiv 2502.12665, with what
// docs/retrieval.md changes).
//
// Far keys are scored as if each were turned by what the keys of its band of distances (bands.h) are turned
// by on average: then a key's score does not depend on where in the band it lies, and the keys that a
// centroid (key_index.h) has there, a cell, can be scored by its mean. A token scores the means for every
// band, takes the best cells for each query head, and attends exactly to the keys that belong to them, to
// those that lie too far from their centroids for a mean to stand for them, to the first kSinks and to the
// last kWindow positions; to all other keys as if they were the means of theirs. All heads of a group attend
// to what any of them wants.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "exec/attention.h"
#include "exec/bands.h"
#include "exec/workspace.h"
#include "kv/cache.h"
#include "kv/index.h"
#include "model/plan.h"

namespace minnow::exec {

/// Decides in place of the centroids, for measurements. Threads call it for several KV heads at a time.
class Selector {
 public:
  struct Request {
    uint32_t layer = 0, kv_head = 0, position = 0;
    const float* q = nullptr;      ///< (heads of the group, padded head_dim), rotated by the position
    const float* far_q = nullptr;  ///< the same as the keys of the nearest band see them
    size_t band_stride = 0;        ///< of far_q, from band to band
    kv::RowView rows;
    const uint16_t* ids = nullptr;  ///< of the keys (kv/index.h); null: the layer has no codebooks
  };
  virtual ~Selector() = default;
  /// Writes positions of [first, end), ascending, and returns how many.
  virtual size_t select(const Request& request, uint32_t first, uint32_t end, uint32_t* list) = 0;
};

struct RetrievalOptions {
  bool on = false;               ///< tokens behind at least `from` positions attend to what they select
  uint32_t from = 6144;          ///< shorter contexts are attended to whole
  float least = 0.006f;          ///< of all positions, that a query head takes at least
  float fraction = 0.1f;         ///< and at most
  uint32_t budget = 1024;        ///< and no more than so many; 0: no bound
  float share = 5.0f;            ///< between them: keys that weigh so many times the mean key, by estimate
  uint32_t dense_layers = 0;     ///< the first so many attend to everything
  float outliers = 0.012f;       ///< of all positions, keys far from their centroids: always attended to, and
  uint32_t few_outliers = 100;   ///< no fewer; on average over KV heads, some have many more than others,
  float most_outliers = 0.1f;    ///< of all positions at most
  bool remainder = true;         ///< what is not selected enters through the means of its centroids
  bool measure = false;          ///< look at all keys too, for RetrievalCounts::weight
  Selector* selector = nullptr;  ///< null: centroids decide; else there is no remainder
};

/// What was attended to since creation, over all layers with retrieval, KV heads and tokens that retrieved.
struct RetrievalCounts {
  uint64_t tokens = 0, attended = 0, seen = 0;
  /// Where it is measured: the share of the exact attention that what was attended to holds, summed over
  /// query heads, and how many these were.
  double weight = 0.0;
  uint64_t weighed = 0;
};

/// A session's side of it.
struct Retrieval {
  RetrievalOptions options;
  kv::Index index;
  RetrievalCounts counts;
  uint64_t attended_last = 0;   ///< rows, of the last token that selected
  uint16_t outliers_above = 0;  ///< ids above it belong to keys that are attended to wherever they are
  /// Whether a token that comes alone behind `position` others selects what it attends to.
  bool serves(uint32_t position) const { return options.on && index.present() && position >= options.from; }
};

/// A thread's scratch; the most pieces a selection of a context is cut into.
size_t retrieval_scratch_bytes(const model::Plan& plan);
size_t most_selected_pieces(uint32_t context);

/// Decides for a token behind `position` others, before its layers, how far from its centroid a key must lie
/// to be attended to in any case. Distances tell by how much a mean errs in scores, in every KV head alike,
/// so one distance is for all.
void choose_outliers(const model::Plan& plan, Retrieval& retrieval, uint32_t position);

/// ws.attn (1, heads * head_dim) as attend() makes it, over what the token selects and, if so set, the rest
/// by its means. All far keys are counted (key_index.h).
void attend_selected(const model::Plan& plan, const Workspace& ws, ThreadPool& pool, const kv::Cache& cache,
                     Retrieval& retrieval, uint32_t layer, const Chunk& chunk);

}  // namespace minnow::exec
