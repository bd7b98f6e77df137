#include "kv/index.h"

#include <algorithm>
#include <cstring>

namespace minnow::kv {

Result<Index> Index::create(const IndexShape& shape) {
  Index out;
  out.shape_ = shape;
  MINNOW_ASSIGN(out.ids_, Buffer::allocate(shape.ids_bytes(), "the retrieval index"));
  MINNOW_ASSIGN(out.counts_, Buffer::allocate(shape.counts_bytes(), "the retrieval index's counts"));
  MINNOW_ASSIGN(out.means_, Buffer::allocate(shape.means_bytes(), "the retrieval index's means"));
  return out;
}

void Index::forget_counts() {
  if (counted_ == 0) return;
  for (uint32_t l = 0; l < shape_.layers; ++l) {
    for (uint32_t h = 0; h < shape_.kv_heads; ++h) {
      std::fill_n(counts(l, h), shape_.cells(), 0u);
      std::fill_n(levels(l, h), kLevels, 0u);
    }
  }
  counted_ = 0;
}

void Index::copy_from(const Index& other, uint32_t positions) {
  for (uint32_t l = 0; l < shape_.layers; ++l) {
    for (uint32_t h = 0; h < shape_.kv_heads; ++h)
      std::memcpy(ids(l, h), other.ids(l, h), positions * sizeof(uint16_t));
  }
  forget_counts();
  if (other.counted_ > positions || other.counted_ == 0) return;
  const uint64_t cells = std::min(shape_.cells(), other.shape_.cells());  // bands beyond have no keys
  for (uint32_t l = 0; l < shape_.layers; ++l) {
    for (uint32_t h = 0; h < shape_.kv_heads; ++h) {
      std::copy_n(other.counts(l, h), cells, counts(l, h));
      std::copy_n(other.log_counts(l, h), cells, log_counts(l, h));
      std::copy_n(other.levels(l, h), kLevels, levels(l, h));
    }
  }
  std::memcpy(means_.data(), other.means_.data(), shape_.means_bytes());
  counted_ = other.counted_;
}

}  // namespace minnow::kv
