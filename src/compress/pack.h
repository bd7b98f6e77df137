// Appends the rows of one linear to a weight segment as floats. Codes: layout.h.
#pragma once

#include <functional>

#include "base/status.h"
#include "base/thread_pool.h"
#include "compress/compress.h"
#include "format/metadata.h"
#include "format/writer.h"
#include "model/kernel_set.h"

namespace minnow::compress {

class Packer {
 public:
  /// `rows_done` is called after each batch with the weights packed in it; false cancels.
  Packer(format::Writer& writer, ThreadPool& pool, const model::KernelSet& kernels,
         std::function<bool(uint64_t)> rows_done)
      : writer_(writer), pool_(pool), kernels_(kernels), rows_done_(std::move(rows_done)) {}

  /// Appends the rows to the open segment and returns their slab (row layout). `storage` is one of floats.
  Result<format::Slab> pack(const RowSource& source, Storage storage);

 private:
  Result<format::Slab> pack_float(const RowSource& source, format::CodeType code);
  /// Runs body(row, slot) for all rows in batches, appending `row_bytes` of output a row.
  Status rows(const RowSource& source, uint64_t row_bytes,
              const std::function<Status(uint32_t row, const float* values, std::byte* out)>& body);

  format::Writer& writer_;
  ThreadPool& pool_;
  const model::KernelSet& kernels_;
  std::function<bool(uint64_t)> rows_done_;
};

}  // namespace minnow::compress
