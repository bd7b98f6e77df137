#include "kv/cache.h"

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

Result<Cache> Cache::create(const Shape& shape) {
  Cache out;
  out.shape_ = shape;
  MINNOW_ASSIGN(out.rows_, Buffer::allocate(shape.rows() * shape.row_bytes(), "the KV cache"));
  if (shape.type == Type::q8) {
    MINNOW_ASSIGN(out.scales_, Buffer::allocate(shape.rows() * 8, "the KV cache's scales"));
  }
  return out;
}

RowView Cache::rows(uint32_t layer, uint32_t kv_head) const {
  const uint64_t first = (uint64_t{layer} * shape_.kv_heads + kv_head) * shape_.context;
  RowView view;
  view.k = rows_.as<const uint8_t>() + first * shape_.row_bytes();
  view.v = view.k + shape_.half_bytes();
  view.row_stride = shape_.row_bytes();
  if (shape_.type == Type::q8) {
    view.k_scale = scales_.as<const float>() + first * 2;
    view.v_scale = view.k_scale + 1;
    view.scale_stride = 2 * sizeof(float);
  }
  return view;
}

void Cache::write(uint32_t layer, uint32_t kv_head, uint32_t position, const float* k, const float* v,
                  const model::KernelSet& kernels) {
  const uint64_t index = (uint64_t{layer} * shape_.kv_heads + kv_head) * shape_.context + position;
  uint8_t* row = rows_.as<uint8_t>() + index * shape_.row_bytes();
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
        args.scale = scales_.as<float>() + index * 2 + (x == v ? 1 : 0);
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
