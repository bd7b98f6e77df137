// The retrieval index: which centroid of its codebook every key belongs to, two bytes a key, and how many far
// keys each centroid has. What attention reads of a long context is decided from it alone.
//
// Distinct (layer, KV head) may be written and counted by distinct threads.
#pragma once

#include <cstdint>
#include <vector>

#include "base/buffer.h"
#include "base/status.h"

namespace minnow::kv {

class Index {
 public:
  Index() = default;
  /// For `layers` that have codebooks at all; those without are never touched and take no memory.
  static Result<Index> create(uint32_t layers, uint32_t kv_heads, uint32_t context, uint32_t centroids);

  bool present() const { return context_ != 0; }
  /// [context], written by position.
  uint16_t* ids(uint32_t layer, uint32_t kv_head) const {
    return ids_.as<uint16_t>() + (uint64_t{layer} * kv_heads_ + kv_head) * context_;
  }
  /// Keys of each centroid at positions [first, end), [centroids]; kept up from call to call while `end`
  /// grows.
  const uint32_t* counts(uint32_t layer, uint32_t kv_head, uint32_t first, uint32_t end);
  /// Counts begin anew: to be called when positions are written a second time.
  void forget_counts();
  void copy_from(const Index& other, uint32_t positions);
  uint64_t bytes() const { return ids_.size() + counts_.size(); }
  /// What create() would take.
  static uint64_t bytes(uint32_t layers, uint32_t kv_heads, uint32_t context, uint32_t centroids) {
    return uint64_t{layers} * kv_heads * (context * sizeof(uint16_t) + centroids * sizeof(uint32_t));
  }

 private:
  struct Counted {
    uint32_t first = 0, end = 0;
  };
  uint32_t layers_ = 0, kv_heads_ = 0, context_ = 0, centroids_ = 0;
  Buffer ids_, counts_;
  std::vector<Counted> counted_;  // by layer and KV head
};

}  // namespace minnow::kv
