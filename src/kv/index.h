// The retrieval index: which centroid of its codebook every key belongs to and how far it lies from it, two
// bytes a key, and of each centroid how many far keys it has, by bands of distances, and what their mean key
// and value are. What attention reads of a long context is decided from it alone, and what it does not read
// is summed up by it.
//
// Distinct (layer, KV head) may be written and counted by distinct threads.
#pragma once

#include <cstdint>

#include "base/buffer.h"
#include "base/status.h"

namespace minnow::kv {

/// An id: the centroid, and above its bits a level, 0 to kLevels - 1, that grows with the key's distance from
/// it.
inline constexpr uint32_t kCentroidBits = 10, kLevels = 64;
constexpr uint16_t centroid_of(uint16_t id) {
  return id & ((1u << kCentroidBits) - 1);
}
constexpr uint32_t level_of(uint16_t id) {
  return id >> kCentroidBits;
}

struct IndexShape {
  uint32_t layers = 0, kv_heads = 0, context = 0, centroids = 0, padded_dim = 0, bands = 1;

  uint64_t places() const { return uint64_t{layers} * kv_heads; }
  uint64_t ids_bytes() const { return places() * context * sizeof(uint16_t); }
  uint64_t cells() const { return uint64_t{bands} * centroids; }
  uint64_t counts_bytes() const { return places() * (cells() * 2 + kLevels) * sizeof(uint32_t); }
  uint64_t means_bytes() const { return places() * centroids * 2 * padded_dim * sizeof(uint16_t); }
  uint64_t bytes() const { return ids_bytes() + counts_bytes() + means_bytes(); }
};

class Index {
 public:
  Index() = default;
  /// For `layers` that have codebooks at all; those without are never touched and take no memory.
  static Result<Index> create(const IndexShape& shape);

  const IndexShape& shape() const { return shape_; }
  bool present() const { return shape_.context != 0; }
  /// [context], written by position. 16 bits hold both parts.
  uint16_t* ids(uint32_t layer, uint32_t kv_head) const {
    return ids_.as<uint16_t>() + place(layer, kv_head) * shape_.context;
  }
  /// Cells: the far keys of each centroid by band, (bands, centroids).
  uint32_t* counts(uint32_t layer, uint32_t kv_head) const {
    return counts_.as<uint32_t>() + place(layer, kv_head) * (shape_.cells() * 2 + kLevels);
  }
  /// Their logarithms, base 2, likewise, kept because every token weighs all cells and changes few; of 0 they
  /// are not set.
  float* log_counts(uint32_t layer, uint32_t kv_head) const {
    return reinterpret_cast<float*>(counts(layer, kv_head) + shape_.cells());
  }
  /// Far keys of each level, [kLevels].
  uint32_t* levels(uint32_t layer, uint32_t kv_head) const {
    return counts(layer, kv_head) + shape_.cells() * 2;
  }
  /// Means of a centroid's far keys before rotation, f16, in panels as kernels/score takes them: element
  /// (centroid, d) at (centroid / 16 * padded_dim + d) * 16 + centroid % 16. Of centroids without keys any
  /// finite numbers.
  uint16_t* mean_keys(uint32_t layer, uint32_t kv_head) const {
    return means_.as<uint16_t>() + place(layer, kv_head) * shape_.centroids * 2 * shape_.padded_dim;
  }
  /// Means of their values, f16 (centroids, padded_dim), likewise.
  uint16_t* mean_values(uint32_t layer, uint32_t kv_head) const {
    return mean_keys(layer, kv_head) + uint64_t{shape_.centroids} * shape_.padded_dim;
  }
  /// Positions below it are in the counts and means.
  uint32_t counted() const { return counted_; }
  void set_counted(uint32_t positions) { counted_ = positions; }
  /// Nothing is counted any more.
  void forget_counts();
  /// Takes over what another of the same shape, context and bands apart, says of its first `positions`.
  void copy_from(const Index& other, uint32_t positions);

 private:
  uint64_t place(uint32_t layer, uint32_t kv_head) const {
    return uint64_t{layer} * shape_.kv_heads + kv_head;
  }
  IndexShape shape_;
  Buffer ids_, counts_, means_;
  uint32_t counted_ = 0;
};

}  // namespace minnow::kv
