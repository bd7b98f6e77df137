#include "kv/index.h"

#include <algorithm>
#include <cstring>

namespace minnow::kv {

Result<Index> Index::create(uint32_t layers, uint32_t kv_heads, uint32_t context, uint32_t centroids) {
  Index out;
  out.layers_ = layers, out.kv_heads_ = kv_heads, out.context_ = context, out.centroids_ = centroids;
  const uint64_t places = uint64_t{layers} * kv_heads;
  MINNOW_ASSIGN(out.ids_, Buffer::allocate(places * context * sizeof(uint16_t), "the retrieval index"));
  MINNOW_ASSIGN(out.counts_,
                Buffer::allocate(places * centroids * sizeof(uint32_t), "the retrieval index's counts"));
  out.counted_.resize(places);
  return out;
}

const uint32_t* Index::counts(uint32_t layer, uint32_t kv_head, uint32_t first, uint32_t end) {
  const uint64_t place = uint64_t{layer} * kv_heads_ + kv_head;
  uint32_t* counts = counts_.as<uint32_t>() + place * centroids_;
  Counted& done = counted_[place];
  if (done.first != first || done.end > end) {
    std::fill_n(counts, centroids_, 0u);
    done = {first, first};
  }
  const uint16_t* id = ids(layer, kv_head);
  for (uint32_t p = done.end; p < end; ++p) ++counts[id[p]];
  done.end = std::max(done.end, end);
  return counts;
}

void Index::forget_counts() {
  // No range begins here, so the next call counts from the start.
  for (Counted& c : counted_) c = {UINT32_MAX, 0};
}

void Index::copy_from(const Index& other, uint32_t positions) {
  for (uint32_t l = 0; l < layers_; ++l) {
    for (uint32_t h = 0; h < kv_heads_; ++h)
      std::memcpy(ids(l, h), other.ids(l, h), positions * sizeof(uint16_t));
  }
  forget_counts();
}

}  // namespace minnow::kv
