// Retrieval codebooks of a model: what the keys of every KV head look like to its queries, as centroids.
//
// Source: He and others, "A2ATS", Findings of ACL 2025 (arXiv 2502.12665); codebook_math.h has the
// mathematics, exec/retrieval.h what the runtime does with them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "compress/compress.h"
#include "compress/imported_model.h"
#include "compress/mlwq/model_weights.h"
#include "format/container.h"

namespace minnow::compress {

struct CodebookOptions {
  uint32_t centroids = 1024;  ///< a multiple of 16, at most model::kMostCentroids
  bool euclidean = false;     ///< take every direction of a key for as important as any other: for comparison
  std::vector<std::string> calibration;  ///< text files; none: text sampled from the model
  /// Of that text, with facts of random keys strewn into it (facts_text.h) where the model has a tokenizer.
  uint32_t tokens = 1u << 16;
  uint32_t identifiers = 1u << 14;  ///< and so many tokens of random identifiers, of which text has few
  uint32_t length = 8192;           ///< of a sequence, within the model's own maximum
  uint64_t memory =
      uint64_t{1} << 30;  ///< bytes of keys held at a time; less means more passes over the text
  uint64_t seed = 1;
  uint32_t threads = 0;
  StageProgress progress;
};

/// Whether a layer of this model could have codebooks: it attends to all positions.
bool wants_codebook(const format::Layer& layer);

/// Whether a file of so many bytes gets codebooks unasked, where calibration runs anyway: the model's context
/// is long enough for them to matter (8,192), they take less than a fiftieth of the file, and there are 16
/// tokens of text for every centroid.
bool codebooks_by_default(const ImportedModel& model, const CodebookOptions& options, uint64_t file_bytes);

/// Finds codebooks for the model in `input` (a .mnw file, with its weights as quantised) and writes it to
/// `output` with them, all else untouched; codebooks it had are replaced. Errors: a number of centroids that
/// cannot be, no layer that could use them, too little text, files that cannot be read.
Result<CompressReport> add_codebooks(const std::string& input, const CodebookOptions& options,
                                     const std::string& output);

/// The same with codebooks of any values, in no time: a file as large as add_codebooks() would write.
Result<CompressReport> try_codebooks(const std::string& input, const CodebookOptions& options,
                                     const std::string& output);

}  // namespace minnow::compress
