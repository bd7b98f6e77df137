// KV storage: rows [layer][KV head][position][K | V], each a multiple of 64 bytes, int8 scales in a
// parallel array. Attention reads it only through RowView. The first layers lie in memory, the others, where
// a budget leaves no room for them, in a mapped file.
//
// Keys are stored with their rotation applied. Not thread-safe for one row; distinct rows may be
// written by distinct threads.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/buffer.h"
#include "base/scratch_file.h"
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
  uint64_t bytes() const { return layers * layer_bytes(); }
  uint64_t layer_bytes() const {
    return uint64_t{kv_heads} * context * (row_bytes() + (type == Type::q8 ? 8 : 0));
  }
};

/// The first layers that stay in memory: as many as fit in what the retrieval index leaves of a budget of
/// bytes; 0: no bound. Errors: invalid_argument where the index alone is larger.
Result<uint32_t> layers_in_memory(const Shape& shape, uint64_t index_bytes, uint64_t budget);

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
  /// All of it in memory. Errors: no_memory.
  static Result<Cache> create(const Shape& shape);
  /// The first `in_memory` layers there and the rest in a file of its own in `directory`, which has no name
  /// and ends with the cache. Errors: those of ScratchFile::create too.
  static Result<Cache> create(const Shape& shape, uint32_t in_memory, const std::string& directory);

  const Shape& shape() const { return shape_; }
  /// Bytes of rows and scales in the file; 0: there is none.
  uint64_t file_bytes() const { return (shape_.layers - in_memory_) * shape_.layer_bytes(); }
  /// Rows in the file could not be read or written, at any time since: what attention sees of them is
  /// arbitrary. Any thread.
  bool failed() const { return file_.failed(); }
  /// Notices what could not be written to the disk since (base/scratch_file.h); failed() then says it.
  void look_for_lost_writes() const { file_.look_for_lost_writes(); }
  const std::string& directory() const { return file_.directory(); }
  /// Asks the system for what is not in memory of these rows, ascending; does not wait for it. Nothing for
  /// layers that are not in the file.
  void ask_for(uint32_t layer, uint32_t kv_head, std::span<const uint32_t> positions) const;
  RowView rows(uint32_t layer, uint32_t kv_head) const;
  /// Stores one position; k and v are f32 [padded_dim()], zeros behind head_dim.
  void write(uint32_t layer, uint32_t kv_head, uint32_t position, const float* k, const float* v,
             const model::KernelSet& kernels);
  /// Copies the first `positions` rows of every layer and head from a cache of the same shape, or one
  /// that differs in its context only, wherever each of them keeps its layers.
  void copy_from(const Cache& other, uint32_t positions);

 private:
  /// Where the rows of a layer and KV head begin, and their scales (null for floats).
  struct Place {
    uint8_t* rows;
    float* scales;
  };
  Place place(uint32_t layer, uint32_t kv_head) const;

  Shape shape_;
  uint32_t in_memory_ = 0;  // layers
  Buffer rows_, scales_;    // of these
  ScratchFile file_;        // rows of all others, then their scales
};

}  // namespace minnow::kv
