#include "compress/pack.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>

#include "base/checked.h"

namespace minnow::compress {
namespace {

using format::CodeType;
using format::Slab;

constexpr float kLargestHalf = 65504.0f;

/// The f16 nearest above the scale, so that no code is clipped: value and bits.
uint16_t half_bits_at_least(float scale, const model::KernelSet& kernels, float& rounded) {
  uint16_t bits = 0;
  const ConvertArgs narrow{&scale, &bits, 1};
  kernels.f32_to_f16->fn(&narrow);
  const ConvertArgs widen{&bits, &rounded, 1};
  kernels.f16_to_f32->fn(&widen);
  if (rounded < scale && bits < 0x7bff) {
    ++bits;
    kernels.f16_to_f32->fn(&widen);
  }
  return bits;
}

}  // namespace

Status Packer::rows(const RowSource& source, uint64_t row_bytes,
                    const std::function<Status(uint32_t, const float*, std::byte*)>& body) {
  const uint32_t batch = std::max<uint32_t>(1, static_cast<uint32_t>((uint64_t{16} << 20) / row_bytes));
  const uint32_t padded = round_up(source.cols, format::kChannelPadding);
  std::vector<std::byte> out(std::min(batch, source.rows) * row_bytes);
  std::vector<float> values(uint64_t{pool_.threads()} * padded);
  for (uint32_t first = 0; first < source.rows; first += batch) {
    const uint32_t count = std::min(batch, source.rows - first);
    std::fill(out.begin(), out.end(), std::byte{0});
    Status failure;
    std::mutex mutex;
    pool_.parallel_for(count, 8, [&](size_t begin, size_t end, uint32_t slot) {
      float* row = values.data() + uint64_t{slot} * padded;
      for (size_t i = begin; i < end; ++i) {
        std::fill(row + source.cols, row + padded, 0.0f);
        const auto index = first + static_cast<uint32_t>(i);
        Status status = source.read(index, row);
        if (status.ok()) status = body(index, row, out.data() + i * row_bytes);
        if (status.ok()) continue;
        const std::lock_guard lock(mutex);
        if (failure.ok()) failure = std::move(status);
      }
    });
    MINNOW_TRY(std::move(failure));
    MINNOW_TRY(writer_.append({out.data(), count * row_bytes}));
    if (rows_done_ && !rows_done_(uint64_t{count} * source.cols)) return fail(Code::cancelled, "cancelled");
  }
  return {};
}

Result<Slab> Packer::pack(const RowSource& source, Storage storage) {
  switch (storage) {
    case Storage::source16:
      return pack_float(source, source.tensor->type == SourceType::bf16 ? CodeType::bf16 : CodeType::f16);
    case Storage::f16:
      return pack_float(source, CodeType::f16);
    case Storage::bf16:
      return pack_float(source, CodeType::bf16);
    case Storage::f32:
      return pack_float(source, CodeType::f32);
    case Storage::w8:
      return pack_w8(source);
  }
  return fail(Code::internal, "unknown storage");
}

Result<Slab> Packer::pack_float(const RowSource& source, CodeType code) {
  Slab s;
  s.code = code;
  s.count = source.cols;
  MINNOW_ASSIGN(s.base, writer_.align(format::kSegmentAlignment));
  s.row_stride = uint64_t{s.padded()} * format::bits_of(code) / 8;
  MINNOW_TRY(rows(source, s.row_stride, [&](uint32_t row, const float* values, std::byte* out) -> Status {
    if (code == CodeType::f32) {
      std::memcpy(out, values, source.cols * sizeof(float));
      return {};
    }
    if (code == CodeType::f16) {
      for (uint32_t i = 0; i < source.cols; ++i) {
        if (std::fabs(values[i]) > kLargestHalf) {
          return fail(Code::unsupported, "tensor '", source.tensor->name, "' holds ", values[i], " at row ",
                      row, ", which f16 cannot; store it as bf16 or f32");
        }
      }
    }
    const ConvertArgs args{values, out, source.cols};
    (code == CodeType::f16 ? kernels_.f32_to_f16 : kernels_.f32_to_bf16)->fn(&args);
    return {};
  }));
  return s;
}

Result<Slab> Packer::pack_w8(const RowSource& source) {
  Slab s;
  s.code = CodeType::u8;
  s.count = source.cols;
  s.group = static_cast<uint16_t>(group_);
  s.scale_type = format::ScaleType::f16;
  MINNOW_ASSIGN(s.base, writer_.align(format::kSegmentAlignment));
  s.row_stride = round_up(uint64_t{s.padded()}, format::kSegmentAlignment);
  const uint32_t groups = s.groups();
  std::vector<uint16_t> scales(uint64_t{source.rows} * groups);
  MINNOW_TRY(rows(source, s.row_stride, [&](uint32_t row, const float* values, std::byte* out) -> Status {
    auto* codes = reinterpret_cast<uint8_t*>(out);
    std::memset(codes, 128, s.row_stride);  // padding stands for zero
    for (uint32_t g = 0; g < groups; ++g) {
      const uint32_t begin = g * group_, end = std::min(source.cols, begin + group_);
      float largest = 0.0f;
      for (uint32_t i = begin; i < end; ++i) largest = std::max(largest, std::fabs(values[i]));
      float scale = 0.0f;
      scales[uint64_t{row} * groups + g] = half_bits_at_least(largest / 127.0f, kernels_, scale);
      if (!std::isfinite(scale)) {
        return fail(Code::unsupported, "tensor '", source.tensor->name, "' holds ", largest, " in row ", row,
                    ", too large for 8-bit codes with f16 scales; store it as a float");
      }
      if (scale == 0.0f) continue;
      for (uint32_t i = begin; i < end; ++i) {
        const float q = std::nearbyint(values[i] / scale);
        codes[i] = static_cast<uint8_t>(128 + static_cast<int>(std::clamp(q, -127.0f, 127.0f)));
      }
    }
    return {};
  }));
  MINNOW_ASSIGN(s.scale_base, writer_.align(format::kSegmentAlignment));
  s.scale_stride = uint64_t{groups} * 2;
  MINNOW_TRY(writer_.append(std::as_bytes(std::span(scales))));
  return s;
}

}  // namespace minnow::compress
