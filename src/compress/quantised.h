// A linear after quantisation and before packing: what every method (round to nearest, GPTQ, MLWQ)
// hands to the packer. Codes are one a byte here; the packer brings them into a layout.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "format/metadata.h"

namespace minnow::compress {

/// The codes of a width: 2, 3, 4 or 8.
constexpr format::CodeType code_type(uint32_t bits) {
  return bits == 2   ? format::CodeType::u2
         : bits == 3 ? format::CodeType::u3
         : bits == 4 ? format::CodeType::u4
                     : format::CodeType::u8;
}

/// Consecutive channels, in storage order, of one width.
///   weight[r][c] = scale[r][g] * (code[r][c] - zero[r][g]),   g = c / group
///   zero[r][g]   = zeros[r][g] * 2^(bits - 4), so the sixteen zeros span the codes: steps of 1/4 at
///                  2 bits, 1/2 at 3, 1 at 4. Empty: the midpoint 2^(bits - 1), which 8 bits always use.
struct QuantisedSlab {
  format::CodeType code = format::CodeType::none;  // u2, u3, u4 or u8
  uint32_t group = 0;                              // 32, 64 or 128
  uint32_t first = 0, count = 0;                   // channels, in the linear's input order
  std::vector<uint8_t> codes;                      // (rows, count)
  std::vector<float> scales;                       // (rows, groups), each a value f16 can hold
  std::vector<uint8_t> zeros;                      // (rows, groups), each 0 to 15, or empty

  uint32_t groups() const { return (count + group - 1) / group; }
};

struct QuantisedLinear {
  std::string name;
  uint32_t rows = 0, cols = 0;
  std::vector<uint32_t> order;  // (cols): stored channel i is input order[i]; empty: as they come
  std::vector<QuantisedSlab> slabs;
};

/// Linears by the name of the source's tensor, each with the layout it is to be packed in.
struct QuantisedSet {
  struct Entry {
    QuantisedLinear linear;
    format::Layout layout = format::Layout::panel;
  };
  std::map<std::string, Entry> entries;
  const Entry* find(const std::string& name) const {
    const auto it = entries.find(name);
    return it == entries.end() ? nullptr : &it->second;
  }
};

}  // namespace minnow::compress
