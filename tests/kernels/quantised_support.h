// A random quantised linear in any layout, and activations, for the tests of gemv, expand and gemm. Packs on its own, from
// the description in kernels/common/quantised.h: a test must not trust what it tests.
#pragma once

#include <algorithm>
#include <memory>

#include "kernels/common/quantised.h"
#include "kernels/support.h"

namespace kernel_test {

enum class Fill { random, largest, alternating };
enum class Layout { row, panel, channel };

inline size_t up(size_t n, size_t to) {
  return (n + to - 1) / to * to;
}

// Bytes with 64 more of slack, 64-byte aligned, everything 0xff (as f16: NaN) until written.
class Slack {
 public:
  explicit Slack(size_t bytes) : storage_(bytes + 64) { std::memset(storage_.data(), 0xff, bytes + 64); }
  uint8_t* data() { return storage_.data(); }

 private:
  // Ends at a guard page: a kernel that reads 65 bytes too far crashes. Alignment follows from the size.
  Guarded<uint8_t> storage_;
};

struct Weights {
  size_t rows, k, group;
  int bits;
  bool stored_zeros;
  std::vector<uint8_t> codes;   // (rows, k)
  std::vector<uint16_t> scales;  // (rows, groups)
  std::vector<uint8_t> zeros;    // (rows, groups)

  size_t groups() const { return (k + group - 1) / group; }
  int code(size_t r, size_t c) const { return codes[r * k + c]; }
  double scale(size_t r, size_t g) const { return value_of_f16(scales[r * groups() + g]); }
  double zero(size_t r, size_t g) const {
    if (!stored_zeros) return (double)(1 << (bits - 1));
    return zeros[r * groups() + g] * std::ldexp(1.0, bits - 4);
  }
};

inline Weights random_weights(Random& random, size_t rows, size_t k, size_t group, int bits, bool zeros, Fill fill) {
  Weights w{rows, k, group, bits, zeros && bits != 8, {}, {}, {}};
  const int top = (1 << bits) - 1;
  for (size_t i = 0; i < rows * k; ++i) {
    const int code = fill == Fill::largest ? top : fill == Fill::alternating ? (i % 2 != 0 ? 0 : top) : random.integer(0, top);
    w.codes.push_back((uint8_t)code);
  }
  for (size_t i = 0; i < rows * w.groups(); ++i) {
    w.scales.push_back(random_f16(random));
    w.zeros.push_back((uint8_t)random.integer(0, 15));
  }
  return w;
}

// The bytes of a Weights in a layout.
struct Packed {
  std::unique_ptr<Slack> codes, scales, zeros;
  QuantisedWeights view{};
};

inline void put_in_run(uint8_t* run, int bits, size_t elements, size_t i, int code) {
  const size_t e = bits == 8 ? 16 : bits == 4 ? 32 : 64, u = i / e, j = i % e / 16, p = i % 16;
  const int width = bits == 3 ? 2 : bits;
  run[16 * u + p] |= (uint8_t)((code & ((1 << width) - 1)) << (width * (int)j));
  if (bits == 3) run[16 * ((elements + 63) / 64) + u / 2 * 16 + p] |= (uint8_t)((code >> 2) << ((int)j + 4 * (int)(u % 2)));
}

inline void put_in_panel(uint8_t* panel, int bits, size_t lane, size_t k, int code) {
  uint8_t* block = panel + k / 32 * 64 * (size_t)bits;
  const size_t t = k % 32 / 4, at = 4 * lane + k % 4;
  if (bits == 8) block[64 * t + at] |= (uint8_t)code;
  if (bits == 4) block[64 * (t % 4) + at] |= (uint8_t)(code << (4 * (t / 4)));
  if (bits < 4) block[64 * (t % 2) + at] |= (uint8_t)((code & 3) << (2 * (t / 2)));
  if (bits == 3) block[128 + at] |= (uint8_t)((code >> 2) << t);
}

inline Packed pack(const Weights& w, Layout layout) {
  Packed out;
  const size_t groups = w.groups(), panels = (w.rows + 15) / 16;
  size_t lines = 0, bytes = 0, factor_lines = 0, factors = 0;
  switch (layout) {
    case Layout::row:
      lines = w.rows, bytes = run_bytes(w.bits, w.k), factor_lines = w.rows, factors = groups;
      break;
    case Layout::channel:
      lines = w.k, bytes = run_bytes(w.bits, w.rows), factor_lines = groups, factors = w.rows;
      break;
    case Layout::panel:
      lines = panels, bytes = w.k / 32 * 64 * (size_t)w.bits, factor_lines = panels, factors = groups * 16;
      break;
  }
  const size_t zero_bytes = up(factors, 16) / 2;
  out.codes = std::make_unique<Slack>(lines * bytes);
  out.scales = std::make_unique<Slack>(factor_lines * factors * 2);
  out.zeros = std::make_unique<Slack>(factor_lines * zero_bytes);
  std::memset(out.codes->data(), 0, lines * bytes);
  std::memset(out.zeros->data(), 0, factor_lines * zero_bytes);
  auto* scales = (uint16_t*)out.scales->data();
  for (size_t r = 0; r < w.rows; ++r) {
    for (size_t c = 0; c < w.k; ++c) {
      if (layout == Layout::row) put_in_run(out.codes->data() + r * bytes, w.bits, w.k, c, w.code(r, c));
      if (layout == Layout::channel) put_in_run(out.codes->data() + c * bytes, w.bits, w.rows, r, w.code(r, c));
      if (layout == Layout::panel) put_in_panel(out.codes->data() + r / 16 * bytes, w.bits, r % 16, c, w.code(r, c));
    }
    for (size_t g = 0; g < groups; ++g) {
      const size_t line = layout == Layout::row ? r : layout == Layout::panel ? r / 16 : g;
      const size_t at = layout == Layout::row ? g : layout == Layout::panel ? g * 16 + r % 16 : r;
      scales[line * factors + at] = w.scales[r * groups + g];
      out.zeros->data()[line * zero_bytes + at / 16 * 8 + at % 8] |=
          (uint8_t)(w.zeros[r * groups + g] << (at % 16 < 8 ? 0 : 4));
    }
  }
  out.view = {w.bits, w.group, out.codes->data(), bytes, scales, factors * 2,
              w.stored_zeros ? out.zeros->data() : nullptr, zero_bytes};
  return out;
}

// Activations as QuantisedInput wants them, padding included, before a guard page.
struct Inputs {
  size_t m, k, group, stride, group_stride;
  Guarded<int8_t> codes;
  Guarded<float> scales, zs;

  Inputs(Random& random, size_t m_, size_t k_, size_t group_, Fill fill)
      : m(m_),
        k(k_),
        group(group_),
        stride(up(k_, kInputPadding)),
        group_stride(up((k_ + group_ - 1) / group_, kInputGroupPadding)),
        codes(m_ * stride),
        scales(m_ * group_stride),
        zs(m_ * group_stride) {
    for (size_t row = 0; row < m; ++row) {
      for (size_t i = 0; i < k; ++i) {
        const bool negative = fill == Fill::alternating ? i % 2 != 0 : fill == Fill::largest && row % 2 != 0;
        codes[row * stride + i] = (int8_t)(fill == Fill::random ? random.integer(-127, 127) : negative ? -127 : 127);
      }
      for (size_t g = 0; g * group < k; ++g) {
        int sum = 0;
        for (size_t i = g * group; i < std::min(k, (g + 1) * group); ++i) sum += codes[row * stride + i];
        scales[row * group_stride + g] = random.uniform(0, 1);
        zs[row * group_stride + g] = scales[row * group_stride + g] * (float)sum;
      }
    }
  }
  QuantisedInput view() { return {codes.data(), stride, scales.data(), zs.data(), group_stride}; }
};

// What the sum over channels [k0, k1) should be, and by how much a kernel may be off.
struct Expected {
  double value = 0, bound = 0;
};
inline Expected expected(const Weights& w, Inputs& x, size_t row, size_t m, size_t k0, size_t k1) {
  double sum = 0, size = 0;
  for (size_t g = k0 / w.group; g * w.group < k1; ++g) {
    int64_t dot = 0, products = 0, total = 0;
    for (size_t i = g * w.group; i < std::min(k1, (g + 1) * w.group); ++i) {
      const int64_t xq = x.codes[m * x.stride + i];
      dot += w.code(row, i) * xq, products += std::abs(w.code(row, i) * xq), total += xq;
    }
    const double s = w.scale(row, g) * (double)x.scales[m * x.group_stride + g];
    sum += s * ((double)dot - w.zero(row, g) * (double)total);
    // With 8 bits codes may enter as code - 128: then products are at most so much larger.
    const double shifted = w.bits == 8 ? 128.0 * 127.0 * (double)w.group : 0.0;
    size += std::abs(s) * ((double)products + shifted + std::abs(w.zero(row, g) * (double)total));
  }
  return {sum, (double)((k1 - k0) / w.group + 9) * 0x1p-22 * size};
}

}  // namespace kernel_test
