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
    default:
      return fail(Code::internal, "codes are not packed here");
  }
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

}  // namespace minnow::compress
