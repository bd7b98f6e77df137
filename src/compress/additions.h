// What a file gets once its weights are quantised: thresholds, then codebooks, each found on the file as it
// is by then.
#pragma once

#include <functional>
#include <string>

#include "compress/a2ats/codebooks.h"
#include "compress/chess/chess.h"

namespace minnow::compress {

/// Null: not wanted.
struct Additions {
  const SparsityOptions* sparsity = nullptr;
  const CodebookOptions* codebooks = nullptr;
  bool none() const { return sparsity == nullptr && codebooks == nullptr; }
};

/// Adds them to the model in `input` (a .mnw file).
Result<CompressReport> add_to_file(const std::string& input, const Additions& additions,
                                   const std::string& output);

/// The same for a model that `write` brings into a file, which is removed afterwards.
Result<CompressReport> through_plain_file(
    const std::string& output, const Additions& additions,
    const std::function<Result<CompressReport>(const std::string& path)>& write);

/// Bytes of the file at `path` once it has them.
Result<uint64_t> size_with(const std::string& path, const Additions& additions);

}  // namespace minnow::compress
