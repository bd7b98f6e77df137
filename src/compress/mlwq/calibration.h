// The tokens that calibration runs over: from text files, or sampled from the model itself.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "compress/imported_model.h"
#include "text/tokenizer.h"

namespace minnow::compress {

using Sequences = std::vector<std::vector<int32_t>>;
using SequenceSpan = std::span<const std::vector<int32_t>>;

/// Cuts the files' texts, tokenised one after another, into sequences of `length` tokens and takes `count`
/// of them spread evenly over the whole. Errors: no tokenizer, a file that cannot be read, is not UTF-8 or
/// has control bytes that no text has, too little text for two sequences.
Result<Sequences> sequences_from_text(const ImportedModel& model, const std::vector<std::string>& files,
                                      uint32_t length, uint32_t count);
Result<Sequences> sequences_from_text(const text::Tokenizer& tokenizer, const std::vector<std::string>& files,
                                      uint32_t length, uint32_t count);

}  // namespace minnow::compress
