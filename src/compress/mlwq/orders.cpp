#include "compress/mlwq/orders.h"

#include <algorithm>
#include <numeric>

namespace minnow::compress {

Order natural_order(size_t n) {
  Order o(n);
  std::iota(o.begin(), o.end(), 0u);
  return o;
}

Order descending(const std::vector<double>& salience) {
  Order o = natural_order(salience.size());
  std::stable_sort(o.begin(), o.end(), [&](uint32_t a, uint32_t b) { return salience[a] > salience[b]; });
  return o;
}

Matrix permuted_columns(const Matrix& w, const Order& order, size_t first, size_t most) {
  Matrix out(std::min(most, w.rows() - first), w.cols());
  for (size_t r = 0; r < out.rows(); ++r) {
    for (size_t c = 0; c < w.cols(); ++c) out.row(r)[c] = w.row(first + r)[order[c]];
  }
  return out;
}

void restore_columns(const Matrix& from, const Order& order, Matrix& to, size_t first) {
  for (size_t r = 0; r < from.rows(); ++r) {
    for (size_t c = 0; c < from.cols(); ++c) to.row(first + r)[order[c]] = from.row(r)[c];
  }
}

const Order& Orders::inputs(size_t block, Role role) const {
  return role == Role::o ? attn[block] : role == Role::down ? ffn[block] : hidden;
}

namespace {

void reorder(std::vector<float>& values, const Order& order) {
  if (values.empty()) return;
  std::vector<float> out(values.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = values[order[i]];
  values = std::move(out);
}

}  // namespace

ImportedModel fold(const ImportedModel& model, const Orders& orders) {
  ImportedModel m = model;
  const auto norm = [&](ImportedNorm& n) {
    reorder(n.weight, orders.hidden);
    reorder(n.bias, orders.hidden);
  };
  for (size_t b = 0; b < m.layers.size(); ++b) {
    ImportedLayer& l = m.layers[b];
    for (ImportedNorm* n : {&l.attn_norm, &l.attn_post_norm, &l.ffn_norm, &l.ffn_post_norm}) norm(*n);
    reorder(l.o.bias, orders.hidden);
    reorder(l.down.bias, orders.hidden);
    reorder(l.gate.bias, orders.ffn[b]);
    reorder(l.up.bias, orders.ffn[b]);
  }
  norm(m.final_norm);
  reorder(m.embedding_in.bias, orders.hidden);
  const size_t hidden = orders.hidden.size();
  for (size_t t = 0; t * hidden < m.positions.size(); ++t) {
    for (size_t c = 0; c < hidden; ++c)
      m.positions[t * hidden + c] = model.positions[t * hidden + orders.hidden[c]];
  }
  return m;
}

Sequence sequence_of(const Scheme& scheme, const Order& stored, const std::vector<double>& salience) {
  const std::vector<Group> groups = groups_of(scheme);
  std::vector<double> total(groups.size(), 0.0);
  for (size_t g = 0; g < groups.size(); ++g) {
    for (uint32_t c = 0; c < groups[g].count; ++c) total[g] += salience[stored[groups[g].begin + c]];
    total[g] /= groups[g].count;
  }
  Sequence s;
  s.group_slot = descending(total);
  uint32_t next = 0;
  for (uint32_t g : s.group_slot) {
    std::vector<uint32_t> slots(groups[g].count);
    std::iota(slots.begin(), slots.end(), groups[g].begin);
    std::stable_sort(slots.begin(), slots.end(),
                     [&](uint32_t a, uint32_t b) { return salience[stored[a]] > salience[stored[b]]; });
    s.groups.push_back({next, groups[g].count, groups[g].bits});
    next += groups[g].count;
    for (uint32_t slot : slots) {
      s.slot.push_back(slot);
      s.channels.push_back(stored[slot]);
    }
  }
  return s;
}

QuantisedLinear store(const std::string& name, const GptqResult& result, const Scheme& scheme,
                      const Sequence& sequence, const Order& row_order, const Order& file_order) {
  QuantisedLinear out;
  out.name = name;
  const size_t groups = sequence.groups.size();
  out.rows = static_cast<uint32_t>(result.grids.size() / groups);
  out.cols = static_cast<uint32_t>(sequence.channels.size());
  out.order = file_order;
  std::vector<uint32_t> place(out.cols), group_place(groups);  // stored -> in the sequence
  for (uint32_t i = 0; i < out.cols; ++i) place[sequence.slot[i]] = i;
  for (uint32_t g = 0; g < groups; ++g) group_place[sequence.group_slot[g]] = g;
  uint32_t first = 0, first_group = 0;
  for (const SlabSpec& spec : scheme.slabs) {
    QuantisedSlab slab;
    slab.code = code_type(spec.bits);
    slab.group = spec.group;
    slab.first = first, slab.count = spec.count;
    slab.codes.resize(size_t{out.rows} * spec.count);
    slab.scales.resize(size_t{out.rows} * slab.groups());
    if (spec.bits != 8) slab.zeros.resize(slab.scales.size());
    for (size_t r = 0; r < out.rows; ++r) {
      const size_t from = row_order.empty() ? r : row_order[r];
      for (uint32_t c = 0; c < spec.count; ++c)
        slab.codes[r * spec.count + c] = result.codes[from * out.cols + place[first + c]];
      for (uint32_t g = 0; g < slab.groups(); ++g) {
        const Grid& grid = result.grids[from * groups + group_place[first_group + g]];
        slab.scales[r * slab.groups() + g] = grid.scale;
        if (spec.bits != 8) slab.zeros[r * slab.groups() + g] = grid.zero_index;
      }
    }
    first += spec.count;
    first_group += slab.groups();
    out.slabs.push_back(std::move(slab));
  }
  return out;
}

Matrix restore(const QuantisedLinear& l, const Order& stored, const Order& row_order) {
  Matrix out(l.rows, l.cols);
  for (const QuantisedSlab& s : l.slabs) {
    const uint32_t bits = format::bits_of(s.code);
    for (size_t r = 0; r < l.rows; ++r) {
      float* row = out.row(row_order.empty() ? r : row_order[r]);
      for (uint32_t c = 0; c < s.count; ++c) {
        const size_t g = r * s.groups() + c / s.group;
        const Grid grid = grid_of(bits, s.scales[g], s.zeros.empty() ? uint8_t{0} : s.zeros[g]);
        row[stored[s.first + c]] = value_of(grid, s.codes[r * s.count + c]);
      }
    }
  }
  return out;
}

}  // namespace minnow::compress
