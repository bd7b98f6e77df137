#include "kv/cache.h"

#include <algorithm>
#include <cstring>

namespace minnow::kv {

const char* name_of(Type type) {
  return type == Type::f32 ? "f32" : type == Type::f16 ? "f16" : "q8";
}

Result<Type> type_from(const std::string& name) {
  for (Type t : {Type::f32, Type::f16, Type::q8}) {
    if (name == name_of(t)) return t;
  }
  return fail(Code::invalid_argument, "unknown KV type '", name, "'; known: f32, f16, q8");
}

Result<uint32_t> layers_in_memory(const Shape& shape, uint64_t index_bytes, uint64_t budget) {
  if (budget == 0) return shape.layers;
  if (index_bytes > budget) {
    return fail(Code::invalid_argument, "the KV budget is ", budget, " bytes; the retrieval index of ",
                shape.context, " positions alone takes ", index_bytes,
                ", and it stays in memory: allow more, take a smaller context, or turn retrieval off");
  }
  const uint64_t layer = shape.layer_bytes();
  return layer == 0 ? shape.layers
                    : static_cast<uint32_t>(std::min<uint64_t>((budget - index_bytes) / layer, shape.layers));
}

Result<Cache> Cache::create(const Shape& shape) {
  return create(shape, shape.layers, "");
}

Result<Cache> Cache::create(const Shape& shape, uint32_t in_memory, const std::string& directory) {
  Cache out;
  out.shape_ = shape;
  out.in_memory_ = in_memory;
  Shape kept = shape;
  kept.layers = in_memory;
  MINNOW_ASSIGN(out.rows_, Buffer::allocate(kept.rows() * shape.row_bytes(), "the KV cache"));
  if (shape.type == Type::q8) {
    MINNOW_ASSIGN(out.scales_, Buffer::allocate(kept.rows() * 8, "the KV cache's scales"));
  }
  MINNOW_ASSIGN(out.file_, ScratchFile::create(directory, out.file_bytes(), "the KV cache"));
  return out;
}

Cache::Place Cache::place(uint32_t layer, uint32_t kv_head) const {
  const bool kept = layer < in_memory_;
  const uint64_t first =
      (uint64_t{kept ? layer : layer - in_memory_} * shape_.kv_heads + kv_head) * shape_.context;
  std::byte* const rows = kept ? rows_.data() : file_.data();
  Place p{reinterpret_cast<uint8_t*>(rows + first * shape_.row_bytes()), nullptr};
  if (shape_.type == Type::q8) {
    const uint64_t filed = uint64_t{shape_.layers - in_memory_} * shape_.kv_heads * shape_.context;
    std::byte* const scales = kept ? scales_.data() : file_.data() + filed * shape_.row_bytes();
    p.scales = reinterpret_cast<float*>(scales) + first * 2;
  }
  return p;
}

RowView Cache::rows(uint32_t layer, uint32_t kv_head) const {
  const Place p = place(layer, kv_head);
  RowView view;
  view.k = p.rows;
  view.v = view.k + shape_.half_bytes();
  view.row_stride = shape_.row_bytes();
  if (p.scales != nullptr) {
    view.k_scale = p.scales;
    view.v_scale = view.k_scale + 1;
    view.scale_stride = 2 * sizeof(float);
  }
  return view;
}

void Cache::ask_for(uint32_t layer, uint32_t kv_head, std::span<const uint32_t> positions) const {
  if (layer < in_memory_) return;
  const Place p = place(layer, kv_head);
  const auto offset = [&](const void* at) {
    return static_cast<uint64_t>(static_cast<const std::byte*>(at) - file_.data());
  };
  file_.ask_for(offset(p.rows), shape_.row_bytes(), positions);
  if (p.scales != nullptr) file_.ask_for(offset(p.scales), 2 * sizeof(float), positions);
}

void Cache::write(uint32_t layer, uint32_t kv_head, uint32_t position, const float* k, const float* v,
                  const model::KernelSet& kernels) {
  const Place p = place(layer, kv_head);
  uint8_t* row = p.rows + position * shape_.row_bytes();
  const uint32_t dim = shape_.padded_dim();
  for (const float* x : {k, v}) {
    uint8_t* half = row + (x == v ? shape_.half_bytes() : 0);
    switch (shape_.type) {
      case Type::f32:
        std::memcpy(half, x, dim * sizeof(float));
        break;
      case Type::f16: {
        const ConvertArgs args{x, half, dim};
        kernels.f32_to_f16->fn(&args);
        break;
      }
      case Type::q8: {
        QuantizeArgs args{};
        args.x = x;
        args.q = reinterpret_cast<int8_t*>(half);
        args.scale = p.scales + uint64_t{position} * 2 + (x == v ? 1 : 0);
        args.m = 1;
        args.k = args.k_padded = args.group = dim;
        kernels.quantize->fn(&args);
        break;
      }
    }
  }
}

namespace {

void read_half(Type type, const uint8_t* half, const float* scale, uint32_t dim,
               const model::KernelSet& kernels, float* to) {
  switch (type) {
    case Type::f32:
      std::memcpy(to, half, dim * sizeof(float));
      break;
    case Type::f16: {
      const ConvertArgs args{half, to, dim};
      kernels.f16_to_f32->fn(&args);
      break;
    }
    case Type::q8: {
      const auto* codes = reinterpret_cast<const int8_t*>(half);
      for (uint32_t i = 0; i < dim; ++i) to[i] = *scale * static_cast<float>(codes[i]);
      break;
    }
  }
}

}  // namespace

void read_row(const RowView& rows, Type type, uint32_t p, uint32_t padded_dim,
              const model::KernelSet& kernels, float* k, float* v) {
  const uint64_t scale = p * rows.scale_stride / sizeof(float);  // nothing is added to null
  read_half(type, rows.k + p * rows.row_stride, rows.k_scale + scale, padded_dim, kernels, k);
  read_half(type, rows.v + p * rows.row_stride, rows.v_scale + scale, padded_dim, kernels, v);
}

void Cache::copy_from(const Cache& other, uint32_t positions) {
  if (positions == 0) return;
  for (uint32_t l = 0; l < shape_.layers; ++l) {
    for (uint32_t h = 0; h < shape_.kv_heads; ++h) {
      const RowView to = rows(l, h), from = other.rows(l, h);
      std::memcpy(const_cast<uint8_t*>(to.k), from.k, positions * shape_.row_bytes());
      if (to.k_scale != nullptr && from.k_scale != nullptr) {
        std::memcpy(const_cast<float*>(to.k_scale), from.k_scale, positions * 2 * sizeof(float));
      }
    }
  }
}

}  // namespace minnow::kv
