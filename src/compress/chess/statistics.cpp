#include "compress/chess/statistics.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace minnow::compress {

namespace {

constexpr uint32_t kMantissa = 23, kBias = 127;
constexpr uint32_t kLowestBits = static_cast<uint32_t>(static_cast<int32_t>(kBias) + Histogram::kLowest)
                                 << kMantissa;

}  // namespace

Histogram::Histogram(uint32_t per_octave)
    : counts(size_t{kOctaves} * per_octave),
      costs(counts.size()),
      shift_(per_octave == 0 ? 0 : kMantissa - static_cast<uint32_t>(std::countr_zero(per_octave))) {}

uint32_t Histogram::bucket(float magnitude) const {
  const auto bits = std::bit_cast<uint32_t>(magnitude);
  if (bits < kLowestBits) return 0;
  return std::min((bits - kLowestBits) >> shift_, size() - 1);
}

float Histogram::edge(uint32_t bucket) const {
  return std::bit_cast<float>(kLowestBits + ((bucket + 1) << shift_) - 1);
}

float Histogram::quantile(double share) const {
  const double wanted = share * static_cast<double>(total_);
  if (wanted <= 0.0) return 0.0f;
  double below = 0.0;
  for (uint32_t b = 0; b < size(); ++b) {
    const auto here = static_cast<double>(counts[b]);
    if (here > 0.0 && below + here >= wanted) {
      const double low = b == 0 ? 0.0 : edge(b - 1), high = edge(b);
      return static_cast<float>(low + (high - low) * (wanted - below) / here);
    }
    below += here;
  }
  return edge(size() - 1);
}

FirstPass::FirstPass(const model::Weights& weights,
                     const std::vector<std::array<std::vector<float>, kRoles>>& norms,
                     std::vector<LayerStatistics>& out)
    : weights_(weights), norms_(norms), out_(out), tokens_(out.size()) {
  const uint32_t ffn = weights.config().ffn_size;
  sums_.assign(out.size(), std::vector<double>(ffn));
  squares_.assign(out.size(), std::vector<double>(ffn));
}

void FirstPass::see(uint32_t layer, Place place, const float* x, size_t stride, size_t rows) {
  LayerStatistics& s = out_[layer];
  const auto weigh = [&](Role role) {
    Histogram &weighted = s.weighted[size_t(role)], &plain = s.plain[size_t(role)];
    const std::vector<float>& norm = norms_[layer][size_t(role)];
    for (size_t t = 0; t < rows; ++t) {
      const float* row = x + t * stride;
      for (size_t i = 0; i < norm.size(); ++i) {
        const float size = std::fabs(row[i]);
        if (plain.size() != 0) plain.add(size);
        if (t % 4 == 0) {
          const float effect = size * norm[i];
          weighted.add(effect, double{effect} * effect);
        }
      }
    }
  };
  switch (place) {
    case Place::attention_in:
      weigh(Role::q);
      break;
    case Place::attention_out:
      weigh(Role::o);
      break;
    case Place::ffn_in:
      if (weights_.layers[layer].gate != nullptr) weigh(Role::gate);
      break;
    case Place::gate:
      for (size_t t = 0; t < rows; ++t) {
        const float* row = x + t * stride;
        for (size_t i = 0; i < sums_[layer].size(); ++i) s.gate.add(std::fabs(row[i]));
      }
      break;
    case Place::up:
      tokens_[layer] += rows;
      for (size_t t = 0; t < rows; ++t) {
        const float* row = x + t * stride;
        for (size_t i = 0; i < sums_[layer].size(); ++i) {
          sums_[layer][i] += std::fabs(row[i]);
          squares_[layer][i] += double{row[i]} * row[i];
        }
      }
      break;
    case Place::inner:
      weigh(Role::down);
      break;
    case Place::far_key:
    case Place::far_query:
      break;
  }
}

void FirstPass::finish() {
  for (size_t l = 0; l < out_.size(); ++l) {
    const auto n = static_cast<double>(std::max<uint64_t>(tokens_[l], 1));
    for (size_t i = 0; i < sums_[l].size(); ++i) {
      out_[l].up_mean.push_back(static_cast<float>(sums_[l][i] / n));
      out_[l].up_rms.push_back(static_cast<float>(std::sqrt(squares_[l][i] / n)));
    }
  }
}

SecondPass::SecondPass(const std::vector<std::vector<float>>& weights,
                       const std::vector<std::array<std::vector<float>, kRoles>>& norms, bool table,
                       std::vector<LayerStatistics>& out)
    : weights_(weights), norms_(norms), table_(table), out_(out) {
  if (!table) return;
  for (LayerStatistics& s : out) {
    s.table.counts.assign(size_t{GateTable::kGateBuckets} * GateTable::kProductBuckets, 0);
    s.table.costs.assign(s.table.counts.size(), 0.0);
  }
}

void SecondPass::see(uint32_t layer, Place place, const float* x, size_t stride, size_t rows) {
  const std::vector<float>& weight = weights_[layer];
  const size_t n = weight.size();
  LayerStatistics& s = out_[layer];
  if (place == Place::gate) {
    gates_.resize(rows * n);
    for (size_t t = 0; t < rows; ++t) {
      for (size_t i = 0; i < n; ++i) {
        const float score = std::fabs(x[t * stride + i]) * weight[i];
        gates_[t * n + i] = score;
        s.score.add(score);
      }
    }
  } else if (place == Place::inner && !gates_.empty()) {
    const std::vector<float>& norm = norms_[layer][size_t(Role::down)];
    GateTable& table = s.table;
    for (size_t t = 0; t < rows; ++t) {
      for (size_t i = 0; i < n; ++i) s.product.add(std::fabs(x[t * stride + i]));
      if (!table_ || t % 4 != 0) continue;
      for (size_t i = 0; i < n; ++i) {
        const float effect = std::fabs(x[t * stride + i]) * norm[i];
        const size_t at = size_t{table.gate.bucket(gates_[t * n + i])} * GateTable::kProductBuckets +
                          table.product.bucket(effect);
        ++table.counts[at];
        table.costs[at] += double{effect} * effect;
      }
      table.total += n;
    }
  }
}

}  // namespace minnow::compress
