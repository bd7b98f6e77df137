// What is inside a .mnw file, as JSON: for `minnow info`. And the checks that loading leaves out because
// they read every byte.
#pragma once

#include <string>

#include "base/status.h"
#include "compress/json.h"

namespace minnow::compress {

/// Config, segments, every linear with its slabs, tokenizer, provenance. With `verify`, also the checksums
/// of all segments and a scan of all scales and float weights for values that are not finite; a failure
/// names the place.
Result<Json> inspect_file(const std::string& path, bool verify);

}  // namespace minnow::compress
