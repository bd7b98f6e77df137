// safetensors: one file, or a directory's shards with their index.
#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "compress/source.h"

namespace minnow::compress {

/// Opens model.safetensors of a directory, or the shards that model.safetensors.index.json names.
/// Headers are checked whole: sizes, overlaps, holes, dtypes. Nothing outside the directory is opened.
Result<std::unique_ptr<TensorSource>> open_safetensors(const std::string& directory);

}  // namespace minnow::compress
