#include "compress/round_to_nearest.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "compress/mlwq/grid.h"

namespace minnow::compress {

Result<QuantisedLinear> round_to_nearest(const RowSource& source, uint32_t bits, uint32_t group,
                                         ThreadPool& pool) {
  QuantisedLinear out;
  out.name = source.tensor->name;
  out.rows = source.rows, out.cols = source.cols;
  QuantisedSlab& s = out.slabs.emplace_back();
  s.code = code_type(bits), s.group = group, s.count = source.cols;
  const uint32_t groups = s.groups();
  s.codes.resize(uint64_t{source.rows} * source.cols);
  s.scales.resize(uint64_t{source.rows} * groups);
  if (bits != 8) s.zeros.resize(uint64_t{source.rows} * groups);
  std::vector<float> values(uint64_t{pool.threads()} * source.cols);
  Status failure;
  std::mutex mutex;
  pool.parallel_for(source.rows, 8, [&](size_t begin, size_t end, uint32_t slot) {
    float* w = values.data() + uint64_t{slot} * source.cols;
    for (size_t r = begin; r < end; ++r) {
      Status status = source.read(static_cast<uint32_t>(r), w);
      for (uint32_t g = 0; g < groups && status.ok(); ++g) {
        const uint32_t first = g * group, count = std::min(group, source.cols - first);
        const Grid grid = fit_grid(w + first, nullptr, count, bits, ClipSearch::plain);
        if (!std::isfinite(grid.scale)) {
          status = fail(Code::unsupported, "tensor '", source.tensor->name, "' holds values in row ", r,
                        " that are too large for ", bits, "-bit codes with f16 scales; store it as a float");
          break;
        }
        s.scales[r * groups + g] = grid.scale;
        if (bits != 8) s.zeros[r * groups + g] = grid.zero_index;
        uint8_t* codes = s.codes.data() + r * source.cols + first;
        std::transform(w + first, w + first + count, codes, Rounding(grid, bits));
      }
      if (status.ok()) continue;
      const std::lock_guard lock(mutex);
      if (failure.ok()) failure = std::move(status);
    }
  });
  MINNOW_TRY(std::move(failure));
  return out;
}

}  // namespace minnow::compress
