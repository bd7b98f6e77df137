// How one linear may be stored, what that costs in bytes, and how a budget is shared among all linears.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "compress/mlwq/gptq.h"

namespace minnow::compress {

/// A run of channels of one width.
struct SlabSpec {
  uint32_t bits = 0, group = 0, count = 0;
  bool operator==(const SlabSpec&) const = default;
};

/// The slabs of one linear, widest first.
struct Scheme {
  std::vector<SlabSpec> slabs;
  bool operator==(const Scheme&) const = default;
  uint32_t channels() const;
  std::string text() const;  ///< "4:64x64|3:64x128|2:64x64" (bits : group x channels)
};

/// Bytes of codes, scales and zeros of a linear with `rows` outputs, without the alignment between slabs.
uint64_t bytes_of(const Scheme& scheme, uint32_t rows, format::Layout layout);
/// The layout for a linear whose outputs may one day be skipped (`up`): rows, unless their padding costs
/// more than a few percent, as it does where a row is short; then panels.
format::Layout skippable_layout(const Scheme& scheme, uint32_t rows);
std::vector<Group> groups_of(const Scheme& scheme);

struct SchemeSpace {
  std::vector<uint32_t> widths = {2, 3, 4, 8};
  std::vector<uint32_t> groups = {32, 64, 128};
  bool split = true;  ///< MQSA: several widths within a linear
};
/// All schemes worth trying for a linear of `cols` inputs.
std::vector<Scheme> candidate_schemes(uint32_t cols, const SchemeSpace& space);

struct Candidate {
  Scheme scheme;
  uint64_t bytes = 0;
  double loss = 0.0;  ///< nats per token, predicted
};

/// One candidate a linear, of least total loss within `budget` bytes: the lower hull of each linear, walked
/// by marginal loss a byte, then the rest spent greedily. Errors: even the smallest do not fit.
Result<std::vector<size_t>> allocate(const std::vector<std::vector<Candidate>>& linears, uint64_t budget);

/// The same for plain methods: one scheme for all linears, as nearly as their numbers of inputs allow, the
/// best within the budget.
Result<std::vector<size_t>> allocate_evenly(const std::vector<std::vector<Candidate>>& linears,
                                            uint64_t budget);

}  // namespace minnow::compress
