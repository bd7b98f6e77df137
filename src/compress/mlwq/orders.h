// The order in which channels are stored, and how it is folded into the model so that nothing is gathered
// at run time.
//
//   hidden   one order of the hidden state for the whole model: columns of q, k, v, gate, up and of
//            embedding and head, rows of o and down, norms, biases, positions
//   ffn      one order of the feed-forward neurons in each block: columns of down, rows of gate and up
//   attn     one order in each block for the input of o, where o has several widths; this one stays in the
//            file, because attention's heads cannot be mixed
#pragma once

#include <cstdint>
#include <vector>

#include "compress/imported_model.h"
#include "compress/mlwq/gptq.h"
#include "compress/mlwq/network.h"
#include "compress/mlwq/scheme.h"

namespace minnow::compress {

/// Position i holds channel order[i].
using Order = std::vector<uint32_t>;

Order natural_order(size_t n);
/// Most salient first; equal ones as they come.
Order descending(const std::vector<double>& salience);
/// Columns of w as `order` has them, of `most` rows from `first` on; and back to where they were in `to`.
Matrix permuted_columns(const Matrix& w, const Order& order, size_t first = 0, size_t most = SIZE_MAX);
void restore_columns(const Matrix& from, const Order& order, Matrix& to, size_t first = 0);

struct Orders {
  Order hidden;
  std::vector<Order> ffn, attn;
  /// Of the inputs of a linear.
  const Order& inputs(size_t block, Role role) const;
};

/// The model with norms, biases and positions as `orders` has the channels. Weights keep the source's
/// order: the quantised linears, which replace them, bring their own.
ImportedModel fold(const ImportedModel& model, const Orders& orders);

/// In which sequence a linear's stored channels are quantised: groups by their salience, channels within a
/// group by theirs. Storage and sequence are different things, so that order costs no bytes.
struct Sequence {
  Order channels;                    // position in the sequence -> source channel
  std::vector<uint32_t> slot;        // position in the sequence -> stored position
  std::vector<Group> groups;         // consecutive in the sequence
  std::vector<uint32_t> group_slot;  // group in the sequence -> group in storage order
};
Sequence sequence_of(const Scheme& scheme, const Order& stored, const std::vector<double>& salience);

/// Codes from the sequence they were found in to the order they are stored in. `row_order` (empty: as they
/// come) reorders the outputs. `file_order`: the input order the file has to name, or empty.
QuantisedLinear store(const std::string& name, const GptqResult& result, const Scheme& scheme,
                      const Sequence& sequence, const Order& row_order, const Order& file_order);

/// The inverse of store(): what the codes stand for, in the source's order of channels and outputs.
Matrix restore(const QuantisedLinear& linear, const Order& stored, const Order& row_order);

}  // namespace minnow::compress
