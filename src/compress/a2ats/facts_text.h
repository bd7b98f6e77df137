// Text to find codebooks on that says what has to be remembered: facts of random keys and values strewn into
// ordinary text, and asked for behind it. Prose alone has no such keys, and what a long context is asked for
// is mostly that.
#pragma once

#include <cstdint>

#include "compress/mlwq/calibration.h"
#include "text/tokenizer.h"

namespace minnow::compress {

/// `tokens` in all, in sequences of at most `length`; stretches between facts come from `text`, which is not
/// empty. The same for the same seed.
Result<Sequences> facts_text(const text::Tokenizer& tokenizer, const Sequences& text, uint32_t tokens,
                             uint32_t length, uint64_t seed);

/// Nothing but random identifiers, "8c0d1f22-..., ", in sequences as above.
Result<Sequences> random_identifiers(const text::Tokenizer& tokenizer, uint32_t tokens, uint32_t length,
                                     uint64_t seed);

}  // namespace minnow::compress
