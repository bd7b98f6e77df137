// KV storage: rows [layer][KV head][position][K | V], each a multiple of 64 bytes, int8 scales in a
// parallel array. Attention reads it only through RowView, so that retrieval and file-backed storage
// can come behind the same view.
//
// Keys are stored with their rotation applied. Not thread-safe for one row; distinct rows may be
// written by distinct threads.
#pragma once

#include <cstdint>

#include "base/buffer.h"
#include "base/status.h"
#include "model/kernel_set.h"

namespace minnow::kv {

enum class Type : uint8_t { f32 = 0, f16 = 1, q8 = 2 };

const char* name_of(Type type);
Result<Type> type_from(const std::string& name);

/// What a cache of so many rows is made of.
struct Shape {
  uint32_t layers = 0, kv_heads = 0, head_dim = 0, context = 0;
  Type type = Type::f16;

  uint32_t padded_dim() const { return (head_dim + 31) / 32 * 32; }
  uint64_t half_bytes() const {
    return padded_dim() * (type == Type::f32 ? 4u : type == Type::f16 ? 2u : 1u);
  }
  uint64_t row_bytes() const { return (2 * half_bytes() + 63) / 64 * 64; }
  uint64_t rows() const { return uint64_t{layers} * kv_heads * context; }
  /// Bytes of rows and scales together.
  uint64_t bytes() const { return rows() * (row_bytes() + (type == Type::q8 ? 8 : 0)); }
};

/// The rows of one layer and KV head. Row p: K at k + p * row_stride, V at v + p * row_stride; int8
/// scales at k_scale + p * scale_stride bytes (null for floats).
struct RowView {
  const uint8_t *k = nullptr, *v = nullptr;
  uint64_t row_stride = 0;
  const float *k_scale = nullptr, *v_scale = nullptr;
  uint64_t scale_stride = 0;
};

/// Row p as f32: [padded_dim] each.
void read_row(const RowView& rows, Type type, uint32_t p, uint32_t padded_dim,
              const model::KernelSet& kernels, float* k, float* v);

class Cache {
 public:
  Cache() = default;
  static Result<Cache> create(const Shape& shape);

  const Shape& shape() const { return shape_; }
  RowView rows(uint32_t layer, uint32_t kv_head) const;
  /// Stores one position; k and v are f32 [padded_dim()], zeros behind head_dim.
  void write(uint32_t layer, uint32_t kv_head, uint32_t position, const float* k, const float* v,
             const model::KernelSet& kernels);
  /// Copies the first `positions` rows of every layer and head from a cache of the same shape, or one
  /// that differs in its context only.
  void copy_from(const Cache& other, uint32_t positions);

 private:
  Shape shape_;
  Buffer rows_, scales_;
};

}  // namespace minnow::kv
