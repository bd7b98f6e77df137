#include "compress/source.h"

#include <cmath>
#include <cstring>

namespace minnow::compress {
namespace {

constexpr uint64_t kBlock = 32;  // elements of a GGUF q8_0 or q4_0 block

float from_bits(uint32_t bits) {
  float f;
  std::memcpy(&f, &bits, sizeof f);
  return f;
}

float from_half(uint16_t h) {
  const uint32_t sign = uint32_t{h & 0x8000u} << 16, exponent = (h >> 10) & 31u, mantissa = h & 1023u;
  if (exponent == 31) return from_bits(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return from_bits(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
  return sign != 0 ? -magnitude : magnitude;
}

template <typename T>
T load(const uint8_t* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

}  // namespace

uint64_t source_bytes(SourceType type, uint64_t count) {
  switch (type) {
    case SourceType::f32:
      return count * 4;
    case SourceType::f16:
    case SourceType::bf16:
      return count * 2;
    case SourceType::q8_0:
      return count % kBlock == 0 ? count / kBlock * 34 : 0;
    case SourceType::q4_0:
      return count % kBlock == 0 ? count / kBlock * 18 : 0;
  }
  return 0;
}

const char* name_of(SourceType type) {
  constexpr const char* kNames[] = {"f32", "f16", "bf16", "q8_0", "q4_0"};
  return kNames[static_cast<size_t>(type)];
}

void widen(SourceType type, const uint8_t* data, uint64_t count, float* out) {
  switch (type) {
    case SourceType::f32:
      std::memcpy(out, data, count * 4);
      break;
    case SourceType::f16:
      for (uint64_t i = 0; i < count; ++i) out[i] = from_half(load<uint16_t>(data + 2 * i));
      break;
    case SourceType::bf16:
      for (uint64_t i = 0; i < count; ++i) out[i] = from_bits(uint32_t{load<uint16_t>(data + 2 * i)} << 16);
      break;
    case SourceType::q8_0:  // f16 scale, 32 signed bytes
      for (uint64_t b = 0; b < count / kBlock; ++b, data += 34) {
        const float d = from_half(load<uint16_t>(data));
        for (uint64_t i = 0; i < kBlock; ++i)
          out[b * kBlock + i] = d * static_cast<float>(static_cast<int8_t>(data[2 + i]));
      }
      break;
    case SourceType::q4_0:  // f16 scale, 16 bytes: low nibbles the first half, offset 8
      for (uint64_t b = 0; b < count / kBlock; ++b, data += 18) {
        const float d = from_half(load<uint16_t>(data));
        for (uint64_t i = 0; i < kBlock / 2; ++i) {
          out[b * kBlock + i] = d * static_cast<float>(int(data[2 + i] & 15) - 8);
          out[b * kBlock + kBlock / 2 + i] = d * static_cast<float>(int(data[2 + i] >> 4) - 8);
        }
      }
      break;
  }
}

uint64_t SourceTensor::elements() const {
  uint64_t n = 1;
  for (uint64_t d : shape) n *= d;
  return n;
}

Status RowSource::read(uint32_t row, float* out) const {
  uint32_t from = row;
  if (interleaved_head_dim != 0) {
    // Stored row 2 j + half of a head holds element half * (dim / 2) + j of it.
    const uint32_t dim = interleaved_head_dim, in_head = row % dim;
    from = row - in_head + 2 * (in_head % (dim / 2)) + in_head / (dim / 2);
  }
  const uint64_t row_bytes = source_bytes(tensor->type, cols);
  widen(tensor->type, tensor->data + (uint64_t{first_row} + from) * row_bytes, cols, out);
  for (uint32_t i = 0; i < cols; ++i) {
    if (!std::isfinite(out[i])) {
      return fail(Code::corrupt, "tensor '", tensor->name, "' holds a value that is not finite at row ",
                  first_row + from, ", column ", i, "; the source model is damaged");
    }
  }
  return {};
}

}  // namespace minnow::compress
