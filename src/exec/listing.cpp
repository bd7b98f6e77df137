#include "exec/listing.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "base/checked.h"
#include "exec/quantised_linear.h"
#include "exec/workspace.h"

namespace minnow::exec {
namespace {

using model::Layout;
using model::Plan;
using model::PlanLinear;
using model::SlabWeights;

/// A matrix is read once, so that no cache holds it: half of them whole, half by list.
constexpr size_t kMostMatrices = 16;
constexpr uint64_t kMostBytes = uint64_t{96} << 20;
/// What is nearly whole is read whole: a list cannot gain more than it leaves out, and timings are noisy.
constexpr double kMostListed = 0.875;
/// A list has to win by a tenth: making it costs time as well, and so does what a thread waits for another
/// whose list is longer. Neither is in the measurement.
constexpr double kMargin = 0.9;
constexpr size_t kPage = 4096;

/// Every other unit on average, by chance: even gaps would suit a hardware prefetcher.
class Coin {
 public:
  bool operator()() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return (state_ >> 62 & 1) != 0;
  }

 private:
  uint64_t state_ = 1;
};

/// First accesses of mapped pages cost more than reading them.
void touch(const PlanLinear& linear, ThreadPool& pool) {
  for (const SlabWeights& s : linear.weights->slabs) {
    const size_t rows = linear.weights->layout == Layout::channel ? s.padded : linear.weights->rows;
    const auto* bytes = static_cast<const volatile uint8_t*>(s.codes);
    pool.parallel_for(rows * s.code_stride / kPage, 16, [&](size_t begin, size_t end, uint32_t) {
      for (size_t i = begin; i < end; ++i) (void)bytes[i * kPage];
    });
  }
}

struct Bench {
  const Plan& plan;
  Workspace& ws;
  ThreadPool& pool;
  std::vector<uint32_t> rows;        // listed rows, those of steps of kRowStep in a run
  std::vector<uint32_t> row_starts;  // of each step's; one end

  void list_rows(const PlanLinear& linear) {
    Coin coin;
    rows.clear(), row_starts.assign(1, 0);
    for (uint32_t r = 0; r < linear.weights->rows; ++r) {
      if (coin()) rows.push_back(r);
      if ((r + 1) % kRowStep == 0 || r + 1 == linear.weights->rows)
        row_starts.push_back(static_cast<uint32_t>(rows.size()));
    }
  }
  void run_rows(const PlanLinear& linear, bool listed) {
    const size_t all = linear.weights->rows, steps = row_starts.size() - 1;
    pool.parallel_for(steps, row_grain(steps, pool.threads()), [&](size_t begin, size_t end, uint32_t) {
      if (listed) {
        const uint32_t first = row_starts[begin];
        run_listed_rows(plan, ws, linear, rows.data() + first, row_starts[end] - first, nullptr, ws.up);
      } else {
        run_quantised(plan, ws, linear, begin * kRowStep, std::min(all, end * kRowStep), {0, 1, ws.up, 0}, 0);
      }
    });
  }

  void list_channels(const PlanLinear& linear) {
    Coin coin;
    const model::InputForm& form = plan.forms[linear.form];
    uint32_t listed = 0;
    for (size_t slab = 0; slab < form.pieces.size(); ++slab) {
      const model::InputPiece& p = form.pieces[slab];
      uint32_t* starts = ws.input_starts + p.group_offset + slab;
      for (uint32_t i = 0; i < p.count; ++i) {
        if (i % p.group == 0) starts[i / p.group] = listed;
        if (coin()) ws.inputs[listed++] = i;
      }
      starts[ceil_div(p.count, p.group)] = listed;
    }
  }
  void run_channels(const PlanLinear& linear, bool listed) {
    ws.masking.skip = listed;
    pool.parallel_for_each(linear.pieces.size(), [&](size_t begin, size_t end, uint32_t slot) {
      for (size_t i = begin; i < end; ++i) run_channel_piece(plan, ws, linear, i, 1, slot);
    });
  }
};

/// The share of units at which both ways take the same time, from the time of all and that of half of them.
template <typename List, typename Run>
float crossing(std::vector<const PlanLinear*> matrices, ThreadPool& pool, uint64_t least_bytes,
               float otherwise, List&& list, Run&& run) {
  std::erase_if(matrices, [&](const PlanLinear* l) { return l->weights->bytes() < least_bytes; });
  if (matrices.size() < 2) return otherwise;
  const uint64_t wanted = kMostBytes / std::max<uint64_t>(1, matrices.front()->weights->bytes());
  const size_t most = std::clamp<size_t>(wanted, 2, kMostMatrices);
  if (matrices.size() > most) matrices.resize(most);
  std::vector<double> seconds[2];
  for (const PlanLinear* l : matrices) touch(*l, pool);
  for (size_t i = 0; i < matrices.size(); ++i) {
    list(*matrices[i]);
    const auto start = std::chrono::steady_clock::now();
    run(*matrices[i], i % 2 != 0);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    seconds[i % 2].push_back(took.count() / static_cast<double>(matrices[i]->weights->bytes()));
  }
  const auto median = [](std::vector<double>& v) {
    std::nth_element(v.begin(), v.begin() + static_cast<ptrdiff_t>(v.size() / 2), v.end());
    return v[v.size() / 2];
  };
  const double listed = median(seconds[1]);
  return listed > 0.0 ? static_cast<float>(std::min(kMostListed, kMargin * 0.5 * median(seconds[0]) / listed))
                      : otherwise;
}

}  // namespace

Result<ListingLimits> measure_listing(const Plan& plan, ThreadPool& pool, uint64_t least_bytes) {
  std::vector<const PlanLinear*> rows, channels;
  for (const model::PlanLayer& l : plan.layers) {
    if (l.gate_mask >= 0 && l.up.weights->layout == Layout::row && l.up.weights->slabs.front().group != 0)
      rows.push_back(&l.up);
    if (l.down.mask >= 0 && l.down.weights->layout == Layout::channel) channels.push_back(&l.down);
  }
  ListingLimits limits;
  if (rows.size() < 2 && channels.size() < 2) return limits;
  MINNOW_ASSIGN(Workspace ws, Workspace::create(plan, {.threads = pool.threads()}));
  ws.listing.channels = 1.0f;
  Bench bench{plan, ws, pool, {}, {}};
  limits.rows = crossing(
      std::move(rows), pool, least_bytes, limits.rows, [&](const PlanLinear& l) { bench.list_rows(l); },
      [&](const PlanLinear& l, bool listed) { bench.run_rows(l, listed); });
  limits.channels = crossing(
      std::move(channels), pool, least_bytes, limits.channels,
      [&](const PlanLinear& l) { bench.list_channels(l); },
      [&](const PlanLinear& l, bool listed) { bench.run_channels(l, listed); });
  return limits;
}

}  // namespace minnow::exec
