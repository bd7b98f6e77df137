// What two dense passes over the calibration text leave: how large activations are, and what leaving out the
// small ones would change.
#pragma once

#include <cstdint>
#include <vector>

#include "compress/chess/thresholds.h"
#include "exec/decoder.h"

namespace minnow::compress {

/// Magnitudes by buckets of equal ratio, from 2^-30 to 2^10, with what leaving each bucket out costs.
class Histogram {
 public:
  static constexpr uint32_t kOctaves = 40;
  static constexpr int32_t kLowest = -30;  ///< exponent
  /// Buckets an octave: a power of two.
  explicit Histogram(uint32_t per_octave = 512);

  uint32_t bucket(float magnitude) const;
  /// The largest magnitude of a bucket: as a threshold it leaves out this bucket and those below.
  float edge(uint32_t bucket) const;
  uint32_t size() const { return static_cast<uint32_t>(counts.size()); }
  uint64_t total() const { return total_; }

  void add(float magnitude, double cost = 0.0) {
    const uint32_t b = bucket(magnitude);
    ++counts[b], ++total_;
    costs[b] += cost;
  }
  void add_many(uint32_t bucket, uint64_t count, double cost) {
    counts[bucket] += count, total_ += count;
    costs[bucket] += cost;
  }
  /// The magnitude that `share` of all are at or below, between bucket edges by interpolation. 0 for none.
  float quantile(double share) const;

  std::vector<uint64_t> counts;
  std::vector<double> costs;

 private:
  uint32_t shift_;
  uint64_t total_ = 0;
};

/// Scores of gates by true products: what a mask on act(gate) and one on the product leave out between them.
struct GateTable {
  static constexpr uint32_t kGateBuckets = Histogram::kOctaves * 8,
                            kProductBuckets = Histogram::kOctaves * 16;
  Histogram gate{8}, product{16};  // for their buckets
  std::vector<uint32_t> counts;    // (gate, product)
  std::vector<double> costs;
  uint64_t total = 0;
};

struct LayerStatistics {
  /// Of |x_i| |W_i| for the inputs of the linears that may skip: of q, o and gate, and of down without a
  /// gate.
  std::array<Histogram, kRoles> weighted{Histogram(64), Histogram(0), Histogram(0), Histogram(64),
                                         Histogram(64), Histogram(0), Histogram(64)};
  std::array<Histogram, kRoles> plain{Histogram(),  Histogram(0), Histogram(0), Histogram(),
                                      Histogram(0), Histogram(0), Histogram()};  ///< of |x_i|: q, o, down
  std::vector<float> up_mean, up_rms;  ///< of |up_i| and up_i over tokens
  Histogram gate;                      ///< |act(gate)|
  Histogram score;                     ///< act(gate) times the channel's weight
  Histogram product;                   ///< |act(gate) * up|
  GateTable table;
};

/// First pass: means of |up|, magnitudes of inputs and gates.
class FirstPass : public exec::Probe {
 public:
  FirstPass(const model::Weights& weights, const std::vector<std::array<std::vector<float>, kRoles>>& norms,
            std::vector<LayerStatistics>& out);
  void see(uint32_t layer, Place place, const float* x, size_t stride, size_t rows) override;
  /// Turns sums into means.
  void finish();

 private:
  const model::Weights& weights_;
  const std::vector<std::array<std::vector<float>, kRoles>>& norms_;
  std::vector<LayerStatistics>& out_;
  std::vector<std::vector<double>> sums_, squares_;
  std::vector<uint64_t> tokens_;
};

/// Second pass: scores of gates, with the weights of channels that the first one gave.
class SecondPass : public exec::Probe {
 public:
  /// `weights` (ffn) a layer: what |act(gate)| is multiplied by; `norms`: of down's inputs.
  SecondPass(const std::vector<std::vector<float>>& weights,
             const std::vector<std::array<std::vector<float>, kRoles>>& norms, bool table,
             std::vector<LayerStatistics>& out);
  void see(uint32_t layer, Place place, const float* x, size_t stride, size_t rows) override;

 private:
  const std::vector<std::vector<float>>& weights_;
  const std::vector<std::array<std::vector<float>, kRoles>>& norms_;
  bool table_;
  std::vector<LayerStatistics>& out_;
  std::vector<float> gates_;  // of the layer at hand
};

}  // namespace minnow::compress
