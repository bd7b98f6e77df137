// Activation sparsity: thresholds below which activations, and the weights they meet, are left out of a
// token.
//
// Source: He and others, "CHESS", EMNLP 2024 (a threshold a channel for the gate, one a tensor for the inputs
// of q and o); CATS (one a layer); WINA (norms of weights folded in); TEAL (a share of its own for every
// matrix). docs/sparsity.md says what each gives here.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "compress/chess/allocation.h"
#include "compress/compress.h"
#include "compress/mlwq/model_weights.h"

namespace minnow::compress {

enum class SparsityMethod : uint8_t {
  best,    ///< what loses least at equal weights read: teal, products below a threshold of their own, and
           ///< inputs of gate
  chess,   ///< as published
  cats,    ///< one threshold a layer on |act(gate)|; q and o as chess
  wina,    ///< chess with weight norms in every score
  teal,    ///< wina with a share of its own for every layer and matrix
  oracle,  ///< true products known: what no method can beat at equal shares; reads all of up
};
const char* name_of(SparsityMethod method);

struct SparsityOptions {
  /// Weights that a token leaves out, 0 to 0.95 of those of q, o, up and down (best: as many, gate's too).
  double share = 0.5;
  SparsityMethod method = SparsityMethod::best;
  /// best and teal: what leaves out less than this share counts as leaving out none. Machines read it whole,
  /// and at how much they begin to list differs (exec/listing.h): masks below that cost loss for nothing.
  LeastShares least;
  bool rms = false;  ///< a channel's weight is the root mean square of |up| instead of its mean
  std::vector<std::string> calibration;  ///< text files; none: text sampled from the model
  uint32_t tokens = 1u << 16, length = 2048;
  uint64_t seed = 1;
  uint32_t threads = 0;
  StageProgress progress;
};

/// Share of the weights of layers and output head that a token uses when q, o, up and down leave out `share`
/// of theirs; `attention` false: when only up and down do.
double nominal_activated_fraction(const format::Config& config, size_t layers, double share, bool attention);

/// Calibrates on the model in `input` (a .mnw file, with its weights as quantised) and writes it to `output`
/// with thresholds, its codes untouched; thresholds it had are replaced. Errors: a share out of range, too
/// little text, files that cannot be read.
Result<CompressReport> add_sparsity(const std::string& input, const SparsityOptions& options,
                                    const std::string& output);

/// The same with thresholds of any values, in no time: a file as large as add_sparsity() would write.
Result<CompressReport> try_sparsity(const std::string& input, const SparsityOptions& options,
                                    const std::string& output);

}  // namespace minnow::compress
