// The pipelines of a tokenizer.json: normalizer, pre_tokenizer, decoder, post_processor.
#pragma once

#include "base/status.h"
#include "compress/json_access.h"
#include "format/tokenizer_builder.h"

namespace minnow::compress {

/// Each takes the JSON value of its key and appends to `data`. Errors: unsupported, by name.
Status import_normalizer(const Json& json, format::TokenizerData& data);
Status import_pre_tokenizer(const Json& json, format::TokenizerData& data);
Status import_decoder(const Json& json, format::TokenizerData& data);
Status import_post_processor(const Json& json, format::TokenizerData& data);

}  // namespace minnow::compress
