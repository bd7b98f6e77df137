// FlatBuffers bytes <-> Metadata. Nothing else in minnow knows the generated types of model.fbs.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/status.h"
#include "format/metadata.h"

namespace minnow::format {

std::vector<std::byte> encode_metadata(const Metadata& metadata);

/// Runs the FlatBuffers verifier, then copies; enum values and required tables are checked here,
/// offsets and shapes in Container::open.
Result<Metadata> decode_metadata(std::span<const std::byte> bytes);

}  // namespace minnow::format
