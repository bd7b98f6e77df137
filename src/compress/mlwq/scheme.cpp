#include "compress/mlwq/scheme.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/checked.h"

namespace minnow::compress {

uint32_t Scheme::channels() const {
  uint32_t sum = 0;
  for (const SlabSpec& x : slabs) sum += x.count;
  return sum;
}

std::string Scheme::text() const {
  std::string s;
  for (const SlabSpec& x : slabs) s += cat(s.empty() ? "" : "|", x.bits, ":", x.group, "x", x.count);
  return s;
}

uint64_t bytes_of(const Scheme& scheme, uint32_t rows, format::Layout layout) {
  uint64_t total = 0, stride = 0;
  uint32_t first = 0;
  for (const SlabSpec& spec : scheme.slabs) {
    format::Slab s;
    s.code = code_type(spec.bits);
    s.group = static_cast<uint16_t>(spec.group);
    s.first_channel = first, s.count = spec.count;
    first += spec.count;
    const format::SlabExtent e = format::extent_of(s, layout, rows);
    const uint64_t scales = e.scales_per_unit * sizeof(uint16_t);
    const uint64_t zeros = e.zero_bytes(spec.bits == 8 ? format::ZeroType::midpoint : format::ZeroType::u4);
    if (layout == format::Layout::row) {
      stride = round_up(stride + e.unit_bytes + scales + zeros, format::kUnitAlignment);
    } else {
      total += e.units * e.unit_bytes + e.scale_units * (scales + zeros);
    }
  }
  return layout == format::Layout::row ? stride * rows : total;
}

format::Layout skippable_layout(const Scheme& scheme, uint32_t rows) {
  const uint64_t row = bytes_of(scheme, rows, format::Layout::row),
                 panel = bytes_of(scheme, rows, format::Layout::panel);
  return row > panel + panel / 32 ? format::Layout::panel : format::Layout::row;
}

std::vector<Group> groups_of(const Scheme& scheme) {
  std::vector<Group> out;
  uint32_t first = 0;
  for (const SlabSpec& s : scheme.slabs) {
    for (uint32_t c = 0; c < s.count; c += s.group)
      out.push_back({first + c, std::min(s.group, s.count - c), s.bits});
    first += s.count;
  }
  return out;
}

std::vector<Scheme> candidate_schemes(uint32_t cols, const SchemeSpace& space) {
  std::vector<Scheme> out;
  const auto has = [&](uint32_t width) {
    return std::find(space.widths.begin(), space.widths.end(), width) != space.widths.end();
  };
  const auto add = [&](Scheme s) {
    if (std::find(out.begin(), out.end(), s) == out.end()) out.push_back(std::move(s));
  };
  for (uint32_t group : space.groups) {
    if (group > 32 && cols < group) continue;
    for (uint32_t width : space.widths) {
      if (width != 8 || group == space.groups.back() || group == 64) add({{{width, group, cols}}});
    }
    const uint32_t unit = std::max(group, 64u);
    if (!space.split || group == 32 || cols % unit != 0 || cols / unit < 2) continue;
    const std::pair<uint32_t, uint32_t> pairs[] = {{3, 2}, {4, 3}, {4, 2}, {8, 4}};
    std::vector<uint32_t> counts;  // of the wider class
    for (uint32_t eighths = 1; eighths < 8; ++eighths) {
      const uint32_t n = cols * eighths / 8 / unit * unit;
      if (n > 0 && n < cols && (counts.empty() || counts.back() != n)) counts.push_back(n);
    }
    for (const auto& [high, low] : pairs) {
      if (!has(high) || !has(low)) continue;
      for (uint32_t n : counts) {
        if (high == 8 && n > cols / 4) continue;
        add({{{high, group, n}, {low, group, cols - n}}});
      }
    }
    if (!has(2) || !has(3) || !has(4)) continue;
    for (uint32_t part : {16u, 8u, 4u}) {
      const uint32_t h = cols / part / unit * unit;
      if (h == 0 || 2 * h >= cols) continue;
      add({{{4, group, h}, {3, group, cols - 2 * h}, {2, group, h}}});
      add({{{4, group, h}, {3, group, h}, {2, group, cols - 2 * h}}});
      add({{{4, group, cols - 2 * h}, {3, group, h}, {2, group, h}}});
    }
  }
  return out;
}

Result<std::vector<size_t>> allocate(const std::vector<std::vector<Candidate>>& linears, uint64_t budget) {
  // The lower convex hull of loss over bytes of each linear.
  std::vector<std::vector<size_t>> hulls(linears.size());
  std::vector<size_t> at(linears.size(), 0);
  uint64_t used = 0;
  for (size_t l = 0; l < linears.size(); ++l) {
    const auto& c = linears[l];
    std::vector<size_t> order(c.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return c[a].bytes != c[b].bytes ? c[a].bytes < c[b].bytes : c[a].loss < c[b].loss;
    });
    auto& hull = hulls[l];
    const auto slope = [&](size_t a, size_t b) {
      return (c[a].loss - c[b].loss) / static_cast<double>(c[b].bytes - c[a].bytes);
    };
    for (size_t i : order) {
      if (!hull.empty() && (c[i].bytes == c[hull.back()].bytes || c[i].loss >= c[hull.back()].loss)) continue;
      while (hull.size() >= 2 && slope(hull[hull.size() - 2], hull.back()) <= slope(hull.back(), i))
        hull.pop_back();
      hull.push_back(i);
    }
    used += c[hull[0]].bytes;
  }
  if (used > budget) {
    return fail(Code::invalid_argument, "even the smallest widths take ", used, " bytes of weights, ", budget,
                " remain within the budget; ask for more bits");
  }
  for (;;) {
    size_t best = linears.size();
    double best_slope = 0.0;
    for (size_t l = 0; l < linears.size(); ++l) {
      if (at[l] + 1 >= hulls[l].size()) continue;
      const Candidate &a = linears[l][hulls[l][at[l]]], &b = linears[l][hulls[l][at[l] + 1]];
      const double s = (a.loss - b.loss) / static_cast<double>(b.bytes - a.bytes);
      if (s > best_slope) best_slope = s, best = l;
    }
    if (best == linears.size()) break;
    const uint64_t step =
        linears[best][hulls[best][at[best] + 1]].bytes - linears[best][hulls[best][at[best]]].bytes;
    if (used + step > budget) break;  // flatter steps that fit would only eat what a better one needs
    used += step;
    ++at[best];
  }
  std::vector<size_t> chosen(linears.size());
  for (size_t l = 0; l < linears.size(); ++l) chosen[l] = hulls[l][at[l]];
  // What is left buys candidates off the hull, the best gain first.
  for (;;) {
    size_t best = linears.size(), best_candidate = 0;
    double best_gain = 0.0;
    for (size_t l = 0; l < linears.size(); ++l) {
      const Candidate& now = linears[l][chosen[l]];
      for (size_t i = 0; i < linears[l].size(); ++i) {
        const Candidate& c = linears[l][i];
        if (c.bytes > now.bytes && used + (c.bytes - now.bytes) > budget) continue;
        if (now.loss - c.loss > best_gain) best_gain = now.loss - c.loss, best = l, best_candidate = i;
      }
    }
    if (best == linears.size()) break;
    used += linears[best][best_candidate].bytes;
    used -= linears[best][chosen[best]].bytes;
    chosen[best] = best_candidate;
  }
  return chosen;
}

Result<std::vector<size_t>> allocate_evenly(const std::vector<std::vector<Candidate>>& linears,
                                            uint64_t budget) {
  // The candidate with the widths and the group of `like`, and the nearest to its shares of them.
  const auto find = [](const std::vector<Candidate>& list, const Scheme& like) {
    size_t found = list.size();
    double nearest = std::numeric_limits<double>::infinity();
    for (size_t i = 0; i < list.size(); ++i) {
      const Scheme& s = list[i].scheme;
      if (s.slabs.size() != like.slabs.size()) continue;
      double apart = 0.0;
      for (size_t k = 0; k < s.slabs.size(); ++k) {
        if (s.slabs[k].bits != like.slabs[k].bits || s.slabs[k].group != like.slabs[k].group) {
          apart = std::numeric_limits<double>::infinity();
          break;
        }
        apart += std::fabs(static_cast<double>(s.slabs[k].count) / s.channels() -
                           static_cast<double>(like.slabs[k].count) / like.channels());
      }
      if (apart < nearest) nearest = apart, found = i;
    }
    return found;
  };
  std::vector<size_t> best;
  double best_loss = std::numeric_limits<double>::infinity();
  uint64_t least = std::numeric_limits<uint64_t>::max();
  for (const Candidate& c : linears.front()) {
    std::vector<size_t> chosen;
    double loss = 0.0;
    uint64_t bytes = 0;
    for (const auto& list : linears) {
      const size_t i = find(list, c.scheme);
      if (i == list.size()) break;
      chosen.push_back(i);
      loss += list[i].loss;
      bytes += list[i].bytes;
    }
    if (chosen.size() != linears.size()) continue;
    least = std::min(least, bytes);
    if (bytes <= budget && loss < best_loss) best_loss = loss, best = std::move(chosen);
  }
  if (best.empty()) {
    return fail(Code::invalid_argument, "even the smallest width takes ", least, " bytes of weights, ",
                budget, " remain within the budget; ask for more bits");
  }
  return best;
}

}  // namespace minnow::compress
